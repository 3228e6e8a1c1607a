export { Color, PerspectiveCamera, Scene, Vector3, WebGLRenderer } from "three";
export { OrbitControls } from "three/examples/jsm/controls/OrbitControls.js";
export { PackedSplats, SparkRenderer, SplatMesh, utils } from "@sparkjsdev/spark";
