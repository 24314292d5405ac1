//! Regenerates src/tables/ from the crates `linux-raw-sys` and `syscall-numbers`, and from libseccomp for the three
//! architectures that they lack: `cargo run -p bpf --example tables`, then `cargo fmt`.

mod generate;
#[path = "../../tests/support/libseccomp.rs"]
mod libseccomp;
mod sources;

fn main() {
    let (raw_sys, syscall_numbers) = sources::crates();
    let libseccomp =
        libseccomp::Libseccomp::load().expect("libseccomp.so.2 is needed for s390 and parisc");
    let resolve = |token: u32, name: &str| libseccomp.resolve(token, name);
    let tables = generate::tables(&generate::Sources {
        raw_sys: &raw_sys,
        syscall_numbers: &syscall_numbers,
        resolve: Some(&resolve),
    });
    let names = generate::names(&tables);
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/src/tables");
    std::fs::write(
        format!("{directory}/names.rs"),
        generate::names_file(&names),
    )
    .expect("names.rs");
    for (file, table) in &tables {
        std::fs::write(
            format!("{directory}/{file}.rs"),
            generate::table_file(file, table, &names),
        )
        .expect("a table");
        println!("{file}: {} calls", table.len());
    }
    println!("{} names", names.len());
}
