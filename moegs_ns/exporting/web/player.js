// Unpacks the page's Gaussians, hands them to the viewer frame by frame, and answers the controls.
// The bytes are described in frame_tracks.py and spark_packing.py.
(async function () {
  "use strict";
  const $ = id => document.getElementById(id);
  const player = $("player"), stage = $("stage"), canvas = $("canvas"), veil = $("veil");
  const slider = $("slider"), label = $("label"), speed = $("speed"), play = $("play");
  const ICONS = {
    play: '<path d="M8 5v14l11-7z"/>',
    pause: '<path d="M8 6v12M16 6v12" stroke-width="4"/>',
    reset: '<path d="M4 10l8-6 8 6v10h-5v-6H9v6H4z"/>',
    full: '<path d="M4 9V4h5M15 4h5v5M20 15v5h-5M9 20H4v-5"/>',
  };
  const icon = name => `<svg viewBox="0 0 24 24" aria-hidden="true">${ICONS[name]}</svg>`;
  const IDLE = 400; // ms to go on drawing after the last change: damped turning, sorting

  function fail(text) {
    veil.classList.remove("gone");
    veil.classList.add("failed");
    veil.setAttribute("role", "alert");
    $("message").textContent = text;
  }

  function bytesOf(id) {
    const text = atob($(id).textContent), bytes = new Uint8Array(text.length);
    for (let place = 0; place < text.length; place++) bytes[place] = text.charCodeAt(place);
    $(id).remove();
    return bytes;
  }

  async function inflate(bytes, format) {
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream(format));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  // A track: the first frame's words, which Gaussians change, and their words in every frame.
  async function readTrack(bytes, { width, changing }, count, frames) {
    const data = await inflate(bytes, "deflate");
    const bitBytes = (count + 7) >> 3, words = width / 4;
    if (data.length !== bitBytes + width * (count + (frames - 1) * changing)) throw new Error("damaged data");
    const rows = new Uint32Array(changing);
    for (let row = 0, found = 0; row < count; row++) if (data[row >> 3] >> (row & 7) & 1) rows[found++] = row;
    const first = new Uint8Array(width * count);
    for (let byte = 0, place = bitBytes; byte < width; byte++)
      for (let row = 0; row < count; row++) first[row * width + byte] = data[place++];
    const moving = new Uint8Array(frames * changing * width);
    for (let index = 0; index < changing; index++)
      moving.set(first.subarray(rows[index] * width, (rows[index] + 1) * width), index * width);
    let place = bitBytes + width * count;
    for (let frame = 1; frame < frames; frame++) {
      const begin = frame * changing * width, before = begin - changing * width;
      for (let byte = 0; byte < width; byte++)
        for (let index = 0; index < changing; index++)
          moving[begin + index * width + byte] = moving[before + index * width + byte] + data[place++];
    }
    return { words, rows, first: new Uint32Array(first.buffer), moving: new Uint32Array(moving.buffer) };
  }

  play.innerHTML = icon("play");
  $("reset").innerHTML = icon("reset");
  $("full").innerHTML = icon("full");
  if (!document.createElement("canvas").getContext("webgl2")) {
    fail("This browser shows no WebGL 2, which the scene needs. Try a current Chrome, Edge, Firefox or Safari, and " +
      "look whether hardware acceleration is switched on in its settings.");
    return;
  }
  if (!("DecompressionStream" in window)) {
    fail("This browser is too old to unpack the scene. Try a current Chrome, Edge, Firefox or Safari.");
    return;
  }

  try {
    await new Promise(done => setTimeout(done, 30)); // let the page appear first
    const scene = JSON.parse($("scene").textContent), frames = scene.frames.length;
    const script = document.createElement("script");
    script.textContent = new TextDecoder().decode(await inflate(bytesOf("viewer"), "gzip"));
    document.head.append(script);
    const { Color, OrbitControls, PackedSplats, PerspectiveCamera, Scene, SparkRenderer, SplatMesh, Vector3,
      WebGLRenderer } = SplatViewer;
    const data = bytesOf("gaussians"), tracks = {};
    let begin = 0;
    for (const one of scene.tracks) {
      tracks[one.name] = await readTrack(data.subarray(begin, begin += one.bytes), one, scene.gaussians, frames);
    }
    $("message").textContent = "Drawing the first frame …";

    // -- what is drawn -------------------------------------------------------------------------------------------
    const centre = new Vector3(...scene.centre);
    const splats = new PackedSplats();
    const kept = { packed: splats.ensureSplats(scene.gaussians) };
    splats.numSplats = scene.gaussians;
    for (const [degree, name] of [[1, "sh1"], [2, "sh2"], [3, "sh3"]])
      if (tracks[name]) kept[name] = splats.ensureSplatsSh(degree, scene.gaussians);
    for (const name in tracks) kept[name].set(tracks[name].first);
    const mesh = new SplatMesh({ packedSplats: splats, splatEncoding: scene.encoding });
    const renderer = new WebGLRenderer({ canvas, antialias: false });
    renderer.setClearColor(new Color().setRGB(...scene.background, "srgb"));
    // All at its own centre, where half floats are finest, and with the bytes' own ranges: nothing is rounded twice.
    const { lnScaleMin, lnScaleMax, rgbMax } = scene.encoding;
    const spark = new SparkRenderer({
      renderer, maxStdDev: Math.sqrt(2 * Math.log(255)), minAlpha: 1 / 255, maxPixelRadius: 4096,
      preBlurAmount: scene.blur, blurAmount: 0, view: { sortRadial: false, sort32: true },
      splatEncoding: { rgbMin: 0, rgbMax, lnScaleMin, lnScaleMax },
    });
    spark.position.copy(centre);
    mesh.position.copy(centre);
    const world = new Scene();
    world.add(spark, mesh);

    const distance = new Vector3(...scene.view.position).distanceTo(centre);
    const camera = new PerspectiveCamera(50, 1, Math.max(scene.near, distance / 1000), distance * 1000);
    camera.up.set(...scene.view.up);
    camera.position.set(...scene.view.position);
    const controls = new OrbitControls(camera, canvas);
    controls.target.set(...scene.view.look_at);
    controls.enableDamping = true;
    controls.dampingFactor = 0.12;
    controls.minDistance = distance / 50;
    controls.maxDistance = distance * 8;
    controls.update();
    controls.saveState();

    // -- when it is drawn ----------------------------------------------------------------------------------------
    let awake = 0, drawn = false, unveiled = false, shown = -1, playing = false, started = 0, startedAt = 0;
    const wake = () => { awake = performance.now() + IDLE; };
    controls.addEventListener("change", wake);

    function fit() {
      const width = stage.clientWidth, height = stage.clientHeight;
      if (!width || !height) return;
      renderer.setPixelRatio(Math.min(window.devicePixelRatio || 1, 2));
      renderer.setSize(width, height, false);
      camera.aspect = width / height;
      // Fill the window with what the cameras saw, unless that would cut off much.
      const whole = Math.tan(scene.view.field_of_view / 2), wide = whole * scene.view.aspect / camera.aspect;
      const half = Math.max(Math.min(whole, wide), 0.6 * Math.max(whole, wide));
      camera.fov = 2 * Math.atan(half) * 180 / Math.PI;
      camera.updateProjectionMatrix();
      renderer.render(world, camera); // at once: setSize has emptied the canvas
      wake();
    }

    function show(frame) {
      if (frame === shown) return;
      for (const name in tracks) {
        const { words, rows, moving } = tracks[name], target = kept[name];
        let from = frame * rows.length * words;
        for (let index = 0; index < rows.length; index++) {
          const to = rows[index] * words;
          for (let word = 0; word < words; word++) target[to + word] = moving[from++];
        }
        if (name !== "packed" && splats.extra[name + "Texture"] && rows.length)
          splats.extra[name + "Texture"].value.needsUpdate = true;
      }
      shown = frame;
      splats.needsUpdate = true;
      mesh.updateVersion();
      slider.value = frame;
      label.textContent = `frame ${scene.frames[frame]}`;
      slider.setAttribute("aria-valuetext", label.textContent);
      wake();
    }

    // Whether what stands in the canvas is the frame and view asked for, sorted.
    function settled() {
      const view = spark.defaultView, record = view.display?.accumulator.mapping.find(one => one.node === mesh);
      return Boolean(record) && record.version === mesh.version && !view.sorting && !view.pending &&
        spark.pendingUpdate.timeoutId === -1;
    }

    function setPlaying(wanted) {
      playing = wanted && frames > 1;
      started = performance.now();
      startedAt = shown;
      play.innerHTML = icon(playing ? "pause" : "play");
      play.setAttribute("aria-label", playing ? "pause" : "play");
    }

    function step(by) {
      setPlaying(false);
      show((shown + by + frames) % frames);
    }

    function draw(now) {
      // Not by requestAnimationFrame alone: where drawing is slow it would starve the timers by which Spark sorts.
      setTimeout(() => requestAnimationFrame(draw), 4);
      controls.update();
      if (!unveiled && getComputedStyle(veil).visibility === "hidden") {
        unveiled = true;
        setPlaying(playing); // its time begins now, not behind the veil
      }
      const ready = settled();
      // The next frame waits until this one is sorted: where sorting is slow, frames are left out and the others seen.
      if (playing && ready && unveiled) {
        const passed = Math.max(0, Math.floor((now - started) / 1000 * scene.fps * speed.value));
        show((startedAt + passed) % frames);
      }
      if (ready && drawn && now > awake) {
        stage.dataset.frame = shown; // at rest: for whoever wants to take a picture
        return;
      }
      delete stage.dataset.frame;
      renderer.render(world, camera);
      drawn = ready;
      if (ready && !unveiled) veil.classList.add("gone");
    }

    // -- controls ------------------------------------------------------------------------------------------------
    play.disabled = slider.disabled = frames < 2;
    play.addEventListener("click", () => setPlaying(!playing));
    slider.addEventListener("input", () => { setPlaying(false); show(Number(slider.value)); });
    speed.addEventListener("change", () => setPlaying(playing));
    $("reset").addEventListener("click", () => controls.reset());
    const full = () => document.fullscreenElement ? document.exitFullscreen() : player.requestFullscreen();
    if (player.requestFullscreen) $("full").addEventListener("click", full); else $("full").remove();
    document.addEventListener("keydown", event => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("select, summary")) return;
      const key = event.key.toLowerCase();
      if (key === " " && !event.target.matches("button")) setPlaying(!playing);
      else if (key === "arrowright") step(1);
      else if (key === "arrowleft") step(-1);
      else if (key === "home") step(-shown);
      else if (key === "end") step(frames - 1 - shown);
      else if (key === "r") controls.reset();
      else if (key === "f" && player.requestFullscreen) full();
      else return;
      event.preventDefault();
    });
    canvas.addEventListener("webglcontextlost", () => fail("The browser took the graphics memory back. Load the page again."));
    new ResizeObserver(fit).observe(stage);

    // #frame=12 opens a frame and stays there; otherwise it plays, unless the reader wants no motion.
    const asked = Number(/[#&]frame=(\d+)/.exec(location.hash)?.[1] ?? NaN), place = scene.frames.indexOf(asked);
    fit();
    show(Math.max(0, place));
    setPlaying(place < 0 && !matchMedia("(prefers-reduced-motion: reduce)").matches);
    requestAnimationFrame(draw);
  } catch (error) {
    fail(`The scene could not be shown: ${error.message}.`);
    throw error;
  }
})();
