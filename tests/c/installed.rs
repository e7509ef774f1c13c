//! An installation in a scratch folder, and programs that know nothing but it.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::header::root;
use crate::programs::{archive, finish, run, scratch, spends, start};

/// Installs below a folder of its own, as a package is made: with DESTDIR.
fn install(folder: &Path, prefix: &str) {
    let mut command = Command::new(root().join("bindings/c/install.sh"));
    run(command.arg(archive()).env("PREFIX", prefix).env("DESTDIR", folder).env_remove("LIBDIR"));
}

fn works(program: &Path) {
    let output = spends(program);
    assert_eq!(output.matches("confirmed").count(), 3, "{output}");
}

fn fresh(name: &str) -> PathBuf {
    let folder = scratch(name);
    std::fs::remove_dir_all(&folder).expect("is ours");
    scratch(name)
}

#[test]
fn a_program_is_built_by_pkg_config() {
    let folder = fresh("pkg-config");
    install(&folder, "/opt/musig");
    let own = folder.join("opt/musig");
    for file in ["include/musig.h", "include/musig.hpp", "lib/libmusig.a", "lib/libmusig.so.0.1.0"] {
        assert!(own.join(file).is_file(), "{file}");
    }
    for link in ["lib/libmusig.so", "lib/libmusig.so.0.1"] {
        assert!(own.join(link).is_symlink() && own.join(link).is_file(), "{link}");
    }
    let ask = |arguments: &[&str]| -> Vec<String> {
        let mut command = Command::new("pkg-config");
        command.env("PKG_CONFIG_PATH", own.join("lib/pkgconfig")).env("PKG_CONFIG_SYSROOT_DIR", &folder);
        let output = run(command.args(arguments).arg("musig"));
        String::from_utf8(output.stdout).expect("is text").split_whitespace().map(str::to_owned).collect()
    };
    assert_eq!(ask(&["--modversion"]), [env!("CARGO_PKG_VERSION")]);
    let program = folder.join("failover");
    let mut command = Command::new("cc");
    command.arg("-std=c99").arg(root().join("examples/c/failover.c")).args(ask(&["--cflags", "--libs"]));
    command.arg(format!("-Wl,-rpath,{}", own.join("lib").display())).arg("-o").arg(&program);
    run(&mut command);
    works(&program);
    // Nothing but the static library.
    std::fs::remove_file(own.join("lib/libmusig.so")).expect("was installed");
    let program = folder.join("failover-static");
    let mut command = Command::new("cc");
    command.arg("-std=c99").arg(root().join("examples/c/failover.c"));
    command.args(ask(&["--static", "--cflags", "--libs"])).arg("-o").arg(&program);
    run(&mut command);
    works(&program);
    // And without any shared library: with glibc's own, where they are installed.
    let program = folder.join("failover-without-shared-libraries");
    let mut command = Command::new("cc");
    command.args(["-std=c99", "-static"]).arg(root().join("examples/c/failover.c"));
    command.args(ask(&["--static", "--cflags", "--libs"])).arg("-o").arg(&program);
    run(&mut command);
    works(&program);
}

#[test]
fn what_was_installed_is_removed_from_the_same_folders() {
    let folder = fresh("removed");
    let with = |command: &mut Command| {
        command.env("PREFIX", "/usr").env("DESTDIR", &folder).env("INCLUDEDIR", "/usr/include/musig-0.1");
        run(command.env("LIBDIR", "lib/x86_64-linux-gnu"));
    };
    with(Command::new(root().join("bindings/c/install.sh")).arg(archive()));
    for file in [
        "usr/include/musig-0.1/musig.hpp",
        "usr/lib/x86_64-linux-gnu/libmusig.a",
        "usr/lib/x86_64-linux-gnu/libmusig.so",
        "usr/lib/x86_64-linux-gnu/cmake/musig/musig-config.cmake",
        "usr/share/doc/musig/LICENSE-MIT",
        "usr/share/musig/valgrind.supp",
    ] {
        assert!(folder.join(file).exists(), "{file}");
    }
    let description = std::fs::read_to_string(folder.join("usr/lib/x86_64-linux-gnu/pkgconfig/musig.pc"));
    assert!(description.expect("is installed").contains("includedir=/usr/include/musig-0.1\n"));
    with(Command::new("make").arg("--silent").arg("-C").arg(root()).arg("uninstall"));
    let left = run(Command::new("find").arg(&folder).args(["!", "-type", "d"]));
    assert_eq!(String::from_utf8_lossy(&left.stdout), "");
}

#[test]
fn a_program_is_built_by_cmake() {
    let folder = fresh("cmake");
    install(&folder, "/usr");
    let build = folder.join("build");
    let mut configure = Command::new("cmake");
    configure.arg("-S").arg(root().join("tests/c/cmake")).arg("-B").arg(&build);
    configure.arg(format!("-DCMAKE_PREFIX_PATH={}", folder.join("usr").display()));
    configure.arg(format!("-DEXAMPLES={}", root().join("examples").display()));
    run(&mut configure);
    run(Command::new("cmake").arg("--build").arg(&build));
    for program in ["failover-c", "failover-cpp", "failover-static"] {
        works(&build.join(program));
    }
}

#[test]
fn the_static_library_stands_beside_another_one_in_rust() {
    let folder = scratch("second");
    let deps = std::env::current_exe().expect("it runs").parent().expect("a folder").to_path_buf();
    let library = folder.join("libsecond.a");
    // The dependency graph has two versions of the crate: the one with this function is meant.
    let built = std::fs::read_dir(&deps)
        .expect("can be read")
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("libsecp256k1-") && name.ends_with(".rlib")
        })
        .any(|rlib| {
            let mut command = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
            command.args(["--edition=2024", "--crate-type=staticlib", "-o"]).arg(&library);
            command.arg(root().join("tests/c/second.rs"));
            command.arg("-L").arg(format!("dependency={}", deps.display()));
            command.arg("--extern").arg(format!("secp256k1={}", rlib.display()));
            command.output().expect("rustc runs").status.success()
        });
    assert!(built, "no libsecp256k1 in {} fits tests/c/second.rs", deps.display());
    let program = folder.join("second");
    let mut command = Command::new("cc");
    command.args(["-std=c99", "-D_DEFAULT_SOURCE", "-I"]).arg(root().join("include"));
    command.arg("-I").arg(root().join("tests/c")).arg(root().join("tests/c/second.c"));
    command.arg(archive()).arg(&library).args(["-lgcc_s", "-lutil", "-lrt", "-lpthread", "-lm", "-ldl"]);
    run(command.arg("-o").arg(&program));
    finish(start(&program, &[]), "second");
}
