# The C library. Included by the Makefile at the root, whose folder is the working one.
#   make install PREFIX=/usr/local DESTDIR= LIBDIR=lib
#   make uninstall PREFIX=/usr/local DESTDIR= LIBDIR=lib

PREFIX ?= /usr/local
C_TARGET_DIR ?= $(or $(CARGO_TARGET_DIR),target)
C_ARCHIVE := $(C_TARGET_DIR)/release/liblibmusig.a

.PHONY: c-library install uninstall c-sanitize c-header

c-library:
	cargo rustc --lib --release --crate-type staticlib $(C_FEATURES)

# With the same variables to both. LIBDIR, INCLUDEDIR and DATADIR are below PREFIX, or absolute.
INSTALL_WITH = PREFIX="$(PREFIX)" DESTDIR="$(DESTDIR)" LIBDIR="$(LIBDIR)" INCLUDEDIR="$(INCLUDEDIR)" DATADIR="$(DATADIR)"

install: c-library ## the C library: headers, shared and static, pkg-config, CMake (PREFIX, DESTDIR, LIBDIR)
	$(INSTALL_WITH) STRIP="$(STRIP)" bindings/c/install.sh $(C_ARCHIVE)

uninstall: ## remove what install put there, with the same variables
	$(INSTALL_WITH) bindings/c/install.sh --remove

# Writes include/musig.h and include/musig.symbols anew from src/ffi/c.
c-header:
	MUSIG_UPDATE=1 cargo test --test ffi header::the_committed_header_is_generated
	cargo test --test ffi header

# AddressSanitizer with LeakSanitizer over our Rust code and the C and C++ programs; UBSan over the programs; valgrind.
c-sanitize:
	tests/c/sanitize.sh
