// Runs a program for wasm32-wasi or, without any imports, for wasm32-unknown-unknown.
//
//     node run_wasm.mjs PROGRAM.wasm

import { readFileSync } from "node:fs";
import { WASI } from "node:wasi";

const module = new WebAssembly.Module(readFileSync(process.argv[2]));
if (WebAssembly.Module.imports(module).length > 0) {
  const wasi = new WASI({ version: "preview1", args: ["program"], returnOnExit: true });
  const imports = { wasi_snapshot_preview1: wasi.wasiImport };
  process.exitCode = wasi.start(new WebAssembly.Instance(module, imports));
} else {
  // A panic traps, which throws.
  process.exitCode = new WebAssembly.Instance(module, {}).exports.main(0, 0);
}
