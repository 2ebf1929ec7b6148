# Sourced: programs with the Vulkan drivers of this system or of another one that lies in a folder, as debootstrap leaves
# one. What another system's libraries run with is that system's own loader, so no root rights are needed.

# Prints the path of a driver's library (libvulkan_NAME.so) in a system's folder; fails where it has none.
driver_library() { # folder, name
    local found
    found=$(find "$1/usr/lib" -name "libvulkan_$2.so" -print -quit 2>/dev/null)
    [ -n "$found" ] && realpath "$found"
}

write_manifest() { # library, manifest
    printf '{"file_format_version": "1.0.0", "ICD": {"library_path": "%s", "api_version": "1.3.0"}}\n' "$1" >"$2"
}

# Runs a program with the driver of a manifest and, unless empty, the libraries of a folder.
with_driver() { # manifest, folder of libraries, program, arguments...
    local manifest=$1 libraries=$2 loader=()
    [ -z "$libraries" ] || loader=("$(find "$libraries/.." "$libraries/../../lib64" -maxdepth 1 -name 'ld-linux*.so.*' -print -quit)" \
        --library-path "$libraries")
    env -u VK_ICD_FILENAMES VK_DRIVER_FILES="$manifest" "${loader[@]}" "${@:3}"
}
