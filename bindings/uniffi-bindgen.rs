//! Writes the Swift, Kotlin and Python halves of the interface. `bindings/generate.sh` runs it.

fn main() {
    uniffi::uniffi_bindgen_main();
}
