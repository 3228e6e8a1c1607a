// A page opened from disk may not start workers, and the site's search is one. There, and only there, a hidden frame runs the
// worker's script in its place. The name is the one mkdocs-material's plugin `offline` looks for before it loads its own from the network.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      this.loaded = new Promise((resolve, reject) => {
        this.frame.addEventListener("load", () => {
          const inside = this.frame.contentWindow;
          // In a worker postMessage speaks to the page that started it.
          inside.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
          const script = inside.document.createElement("script");
          script.src = new URL(url, document.baseURI).href;
          script.onload = () => resolve(inside);
          script.onerror = () => reject(new Error(`could not load ${script.src}`));
          inside.document.body.append(script);
        });
      });
      this.frame.srcdoc = "<!doctype html><body></body>";
      document.body.append(this.frame); // the site starts its worker at the end of the body
    }
    postMessage(data) {
      this.loaded.then((inside) => inside.dispatchEvent(new MessageEvent("message", { data })));
    }
    terminate() {
      this.frame.remove();
    }
  };
}
