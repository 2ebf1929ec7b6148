#!/bin/sh
# Checks for what building and running bayeslora needs: cargo, and a driver for the platform's GPU
# interface. Where Linux has no Vulkan driver the software one (Mesa's lavapipe) is installed, so that
# everything also runs on machines without a GPU. Safe to run again.
set -eu

say() { echo "setup: $*"; }
fail() {
    echo "setup: $*" >&2
    exit 1
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null 2>&1; then
        sudo "$@"
    else
        fail "installing a Vulkan driver needs root and there is no sudo; run as root: $*"
    fi
}

# The loader reads only the files that these variables list, where they are set.
listed_icd() {
    old_ifs=$IFS
    IFS=:
    for entry in $1; do
        for manifest in "$entry" "$entry"/*.json; do
            if [ -f "$manifest" ]; then
                IFS=$old_ifs
                echo "$manifest"
                return
            fi
        done
    done
    IFS=$old_ifs
}

find_icd() {
    listed=${VK_DRIVER_FILES:-${VK_ICD_FILENAMES:-}}
    if [ -n "$listed" ]; then
        listed_icd "$listed"
        return
    fi
    data_dirs=${XDG_DATA_DIRS:-/usr/local/share:/usr/share}
    config_dirs=${XDG_CONFIG_DIRS:-/etc/xdg}
    home_data=${XDG_DATA_HOME:-${HOME:-}/.local/share}
    found=
    for dir in $(echo "$home_data:$config_dirs:/etc:/usr/local/etc:$data_dirs:/usr/local/share:/usr/share" | tr ':' ' '); do
        for manifest in "$dir"/vulkan/icd.d/*.json; do
            [ -f "$manifest" ] || continue
            # Mesa's packages bring manifests for GPUs that the machine may not have; the software
            # driver among them is what makes the set work everywhere, so it is the one to name.
            case $manifest in
                */lvp_icd*) found=$manifest ;;
                *) found=${found:-$manifest} ;;
            esac
        done
    done
    echo "$found"
}

have_loader() {
    if command -v ldconfig >/dev/null 2>&1; then
        ldconfig=ldconfig
    else
        ldconfig=/sbin/ldconfig
    fi
    if "$ldconfig" -p 2>/dev/null | grep -q 'libvulkan\.so\.1'; then
        return 0
    fi
    # musl's ldconfig has no -p, and LD_LIBRARY_PATH is not in the cache.
    for dir in $(echo "${LD_LIBRARY_PATH:-}" | tr ':' ' ') /usr/lib /usr/lib64 /lib /usr/local/lib /usr/lib/*-linux-gnu; do
        [ -e "$dir/libvulkan.so.1" ] && return 0
    done
    return 1
}

have_vulkan() { [ -n "$(find_icd)" ] && have_loader; }

apt_install() {
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -q -y --no-install-recommends mesa-vulkan-drivers libvulkan1
}

install_software_vulkan() {
    if command -v apt-get >/dev/null 2>&1; then
        # Containers ship without package lists, and old lists name files that are gone.
        apt_install || { as_root apt-get update -q && apt_install; }
    elif command -v dnf >/dev/null 2>&1; then
        as_root dnf install -y mesa-vulkan-drivers vulkan-loader
    elif command -v pacman >/dev/null 2>&1; then
        as_root pacman -S --needed --noconfirm vulkan-swrast vulkan-icd-loader
    elif command -v apk >/dev/null 2>&1; then
        as_root apk add mesa-vulkan-swrast vulkan-loader
    else
        fail "no Vulkan driver, and none of apt-get, dnf, pacman, apk to install one with; install Mesa's lavapipe and the Vulkan loader by hand"
    fi
}

check_linux() {
    if have_vulkan; then
        say "Vulkan driver present ($(find_icd)); nothing to install"
        return
    fi
    if [ -n "${VK_DRIVER_FILES:-${VK_ICD_FILENAMES:-}}" ] && [ -z "$(find_icd)" ]; then
        fail "VK_DRIVER_FILES or VK_ICD_FILENAMES names no existing driver manifest; correct or unset it"
    fi
    say "no Vulkan driver or loader found; installing the software driver"
    install_software_vulkan || fail "the package manager could not install it (see above); install Mesa's Vulkan drivers and the Vulkan loader by hand"
    have_vulkan || fail "installed, but still no driver manifest (vulkan/icd.d/*.json) with libvulkan.so.1; check the packages named above"
    say "installed Mesa's software Vulkan driver ($(find_icd))"
}

command -v cargo >/dev/null 2>&1 ||
    fail "cargo not found; install Rust from https://rustup.rs and open a new shell, then run this again"

case $(uname -s) in
    Linux) check_linux ;;
    Darwin)
        [ -d /System/Library/Frameworks/Metal.framework ] || fail "this macOS has no Metal; 10.13 or later is needed"
        say "Metal present; nothing to install"
        ;;
    MINGW* | MSYS* | CYGWIN* | Windows_NT)
        # WARP, the software adapter, is part of Windows 10 and later, as D3D12 is.
        system=$(cygpath -S 2>/dev/null || echo /c/Windows/System32)
        [ -f "$system/d3d12.dll" ] || fail "this Windows has no d3d12.dll; Windows 10 or later is needed"
        say "Direct3D 12 present; nothing to install"
        ;;
    *) fail "$(uname -s) is not a system this script knows; a Vulkan driver and loader are needed" ;;
esac
