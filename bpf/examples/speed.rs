use bpf::*;
use std::time::Instant;
#[path = "../tests/support/mod.rs"]
mod support;
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(dead_code)]
struct P<'a> {
    #[serde(borrow)]
    default_action: &'a str,
    #[serde(borrow)]
    architectures: Vec<&'a str>,
    #[serde(borrow)]
    syscalls: Vec<R<'a>>,
}
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(dead_code)]
struct R<'a> {
    #[serde(borrow)]
    names: Vec<&'a str>,
    action: &'a str,
    errno_ret: Option<u32>,
    #[serde(default)]
    args: Vec<A<'a>>,
}
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(dead_code)]
struct A<'a> {
    index: u32,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: &'a str,
}
fn time(name: &str, mut f: impl FnMut()) {
    let mut v: Vec<f64> = (0..2001)
        .map(|_| {
            let t = Instant::now();
            f();
            t.elapsed().as_nanos() as f64 / 1e3
        })
        .collect();
    v.sort_by(f64::total_cmp);
    println!("{name}: median {:.1} us, min {:.1}", v[1000], v[0]);
}
fn main() {
    if std::env::args().len() > 1 {
        let p = support::docker();
        p.with(|profile| {
            for _ in 0..100000 {
                std::hint::black_box(compile(profile).unwrap());
            }
        });
        return;
    }
    let p = support::docker();
    let text = std::fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/data/docker.json"
    ))
    .unwrap();
    let compact =
        serde_json::to_string(&serde_json::from_str::<serde_json::Value>(&text).unwrap()).unwrap();
    time("serde borrowed", || {
        std::hint::black_box(serde_json::from_str::<P>(&compact).unwrap());
    });
    time("serde Value", || {
        std::hint::black_box(serde_json::from_str::<serde_json::Value>(&compact).unwrap());
    });
    p.with(|profile| {
        time("compile three", || {
            std::hint::black_box(compile(profile).unwrap());
        })
    });
    p.on(&[]).with(|profile| {
        time("compile one", || {
            std::hint::black_box(compile(profile).unwrap());
        })
    });
    p.with(|profile| {
        time("lookups", || {
            for r in profile.rules {
                for n in r.names {
                    std::hint::black_box(is_known(n));
                }
            }
        })
    });
}
