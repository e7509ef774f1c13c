# The C library. Included by the Makefile at the root, whose folder is the working one.
#   make install PREFIX=/usr/local DESTDIR=
#   make uninstall PREFIX=/usr/local DESTDIR=

PREFIX ?= /usr/local
C_TARGET_DIR ?= $(or $(CARGO_TARGET_DIR),target)
C_ARCHIVE := $(C_TARGET_DIR)/release/liblibmusig.a

.PHONY: c-library install uninstall c-sanitize c-header

c-library:
	cargo rustc --lib --release --crate-type staticlib $(C_FEATURES)

install: c-library ## the C library: headers, shared and static, pkg-config, CMake (PREFIX, DESTDIR)
	PREFIX="$(PREFIX)" DESTDIR="$(DESTDIR)" STRIP="$(STRIP)" bindings/c/install.sh $(C_ARCHIVE)

uninstall: ## remove what install put there
	rm -f "$(DESTDIR)$(PREFIX)/include/musig.h" "$(DESTDIR)$(PREFIX)/include/musig.hpp"
	rm -f "$(DESTDIR)$(PREFIX)"/lib/libmusig.a "$(DESTDIR)$(PREFIX)"/lib/libmusig.so*
	rm -f "$(DESTDIR)$(PREFIX)/lib/pkgconfig/musig.pc"
	rm -rf "$(DESTDIR)$(PREFIX)/lib/cmake/musig"

# Writes include/musig.h and include/musig.symbols anew from src/ffi/c.
c-header:
	MUSIG_UPDATE=1 cargo test --test ffi header::the_committed_header_is_generated
	cargo test --test ffi header

# AddressSanitizer with LeakSanitizer over our Rust code and the C and C++ programs; UBSan over the programs; valgrind.
c-sanitize:
	tests/c/sanitize.sh
