//! Notices a dashboard that was built, or built anew, since the last compilation.

fn main() {
    // An empty folder is a dashboard that is not built: the page then says how. A missing one would be looked for at each build.
    let _ = std::fs::create_dir_all("dashboard/dist");
    println!("cargo::rerun-if-changed=dashboard/dist");
}
