//! Links `chance.c`, which stands in for the system's randomness and clock in a simulation.

fn main() {
    println!("cargo:rerun-if-changed=src/chance.c");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        // As a whole: nothing names its functions before the standard library does.
        cc::Build::new().file("src/chance.c").link_lib_modifier("+whole-archive").compile("rkafka_sim_chance");
    }
}
