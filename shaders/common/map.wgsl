// Tensors as arrays of vec4f. Where `textured`, element i is the texel (i % 2048, i / 2048) of a storage
// texture: software adapters load a texel several times faster than a vec4f of a buffer.

//# macro reads(binding, name, textured)
//# if textured
@group(0) @binding({{ binding }}) var {{ name }}: texture_storage_2d<rgba32float, read>;
fn {{ name }}_at(i: u32) -> vec4f { return textureLoad({{ name }}, vec2u(i & 2047u, i >> 11u)); }
//# else
@group(0) @binding({{ binding }}) var<storage, read> {{ name }}: array<vec4f>;
fn {{ name }}_at(i: u32) -> vec4f { return {{ name }}[i]; }
//# endif
//# endmacro

//# macro writes(binding, name, textured)
//# if textured
@group(0) @binding({{ binding }}) var {{ name }}: texture_storage_2d<rgba32float, write>;
fn {{ name }}_set(i: u32, value: vec4f) { textureStore({{ name }}, vec2u(i & 2047u, i >> 11u), value); }
//# else
@group(0) @binding({{ binding }}) var<storage, read_write> {{ name }}: array<vec4f>;
fn {{ name }}_set(i: u32, value: vec4f) { {{ name }}[i] = value; }
//# endif
//# endmacro
