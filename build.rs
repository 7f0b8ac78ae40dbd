//! Makes cargo compile again when the dashboard has been built since the last compilation.

fn main() {
    // An empty folder means that the dashboard is not built. With a missing folder, cargo would run this at each build.
    let _ = std::fs::create_dir_all("dashboard/dist");
    println!("cargo::rerun-if-changed=dashboard/dist");
}
