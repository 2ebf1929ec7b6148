//! A kernel: a compute pipeline and what its shader says of its bindings.

use super::Gpu;
use super::shaders::{self, Variables};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindingKind {
    Read,
    ReadWrite,
    Uniform,
    /// A read-only `rgba32float` storage texture.
    TexelRead,
    /// A write-only one.
    TexelWrite,
    /// A read-only `rgba32uint` storage texture.
    WordRead,
}

impl BindingKind {
    pub fn is_written(self) -> bool {
        matches!(self, Self::ReadWrite | Self::TexelWrite)
    }
}

/// One `@binding` of a shader.
#[derive(Clone, Debug)]
pub struct Binding {
    pub name: String,
    pub index: u32,
    pub kind: BindingKind,
}

/// A member of the shader's `params` uniform: every parameter is a u32 or an f32.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub name: String,
    pub offset: u32,
    pub float: bool,
}

/// A compiled compute pipeline whose bindings and parameters are known by name.
pub struct Kernel {
    pub name: String,
    pub variables: Variables,
    pub bindings: Vec<Binding>,
    pub(super) members: Vec<Member>,
    pub(super) params_size: u32,
    pub(super) pipeline: wgpu::ComputePipeline,
    pub(super) layout: wgpu::BindGroupLayout,
}

impl Kernel {
    pub(super) fn compile(gpu: &Gpu, shader: &str, variables: &Variables) -> Self {
        let source = shaders::render(shader, variables);
        let module = naga::front::wgsl::parse_str(&source)
            .unwrap_or_else(|error| panic!("{shader}: {}", error.emit_to_string(&source)));
        let (bindings, members, params_size) = reflect(&module);
        let layout = gpu
            .device()
            .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
                label: Some(shader),
                entries: &bindings.iter().map(layout_entry).collect::<Vec<_>>(),
            });
        let checks = match gpu.options().runtime_checks {
            true => wgpu::ShaderRuntimeChecks::checked(),
            false => wgpu::ShaderRuntimeChecks::unchecked(),
        };
        let descriptor = wgpu::ShaderModuleDescriptor {
            label: Some(shader),
            source: wgpu::ShaderSource::Wgsl(source.into()),
        };
        // SAFETY: every loop of the shaders is counted and every index stays inside its buffer;
        // tests run each kernel with and without the checks and compare the bits.
        let module = unsafe {
            gpu.device()
                .create_shader_module_trusted(descriptor, checks)
        };
        let pipeline_layout =
            gpu.device()
                .create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                    label: Some(shader),
                    bind_group_layouts: &[Some(&layout)],
                    immediate_size: 0,
                });
        let pipeline = gpu
            .device()
            .create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some(shader),
                layout: Some(&pipeline_layout),
                module: &module,
                entry_point: None,
                compilation_options: wgpu::PipelineCompilationOptions {
                    zero_initialize_workgroup_memory: false,
                    ..Default::default()
                },
                cache: gpu.pipelines(),
            });
        Self {
            name: shader.to_owned(),
            variables: variables.clone(),
            bindings,
            members,
            params_size,
            pipeline,
            layout,
        }
    }
}

/// Bindings of group 0, and the members and size of the uniform named `params`.
fn reflect(module: &naga::Module) -> (Vec<Binding>, Vec<Member>, u32) {
    let mut bindings = Vec::new();
    let mut members = Vec::new();
    let mut params_size = 0;
    for (_, variable) in module.global_variables.iter() {
        let Some(place) = &variable.binding else {
            continue;
        };
        let name = variable.name.clone().unwrap_or_default();
        let kind = match variable.space {
            naga::AddressSpace::Uniform => BindingKind::Uniform,
            naga::AddressSpace::Storage { access }
                if access.contains(naga::StorageAccess::STORE) =>
            {
                BindingKind::ReadWrite
            }
            naga::AddressSpace::Storage { .. } => BindingKind::Read,
            _ => texel_kind(&module.types[variable.ty].inner),
        };
        if name == "params" {
            (members, params_size) = struct_members(module, variable.ty);
        }
        bindings.push(Binding {
            name,
            index: place.binding,
            kind,
        });
    }
    (bindings, members, params_size)
}

fn texel_kind(ty: &naga::TypeInner) -> BindingKind {
    let naga::TypeInner::Image {
        class: naga::ImageClass::Storage { access, format },
        ..
    } = ty
    else {
        panic!("shaders bind buffers and storage textures only");
    };
    match (format, access.contains(naga::StorageAccess::STORE)) {
        (naga::StorageFormat::Rgba32Float, true) => BindingKind::TexelWrite,
        (naga::StorageFormat::Rgba32Float, false) => BindingKind::TexelRead,
        (naga::StorageFormat::Rgba32Uint, false) => BindingKind::WordRead,
        (format, _) => panic!("shaders bind no storage texture of {format:?} like this"),
    }
}

fn struct_members(module: &naga::Module, ty: naga::Handle<naga::Type>) -> (Vec<Member>, u32) {
    let naga::TypeInner::Struct { members, span } = &module.types[ty].inner else {
        panic!("`params` is a struct");
    };
    let members = members.iter().map(|member| Member {
        name: member.name.clone().unwrap_or_default(),
        offset: member.offset,
        float: matches!(
            module.types[member.ty].inner,
            naga::TypeInner::Scalar(naga::Scalar {
                kind: naga::ScalarKind::Float,
                ..
            })
        ),
    });
    (members.collect(), *span)
}

fn layout_entry(binding: &Binding) -> wgpu::BindGroupLayoutEntry {
    let buffer = |ty| wgpu::BindingType::Buffer {
        ty,
        has_dynamic_offset: false,
        min_binding_size: None,
    };
    let texture = |format, access| wgpu::BindingType::StorageTexture {
        access,
        format,
        view_dimension: wgpu::TextureViewDimension::D2,
    };
    let texels = |access| texture(wgpu::TextureFormat::Rgba32Float, access);
    wgpu::BindGroupLayoutEntry {
        binding: binding.index,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: match binding.kind {
            BindingKind::Uniform => buffer(wgpu::BufferBindingType::Uniform),
            BindingKind::Read => buffer(wgpu::BufferBindingType::Storage { read_only: true }),
            BindingKind::ReadWrite => buffer(wgpu::BufferBindingType::Storage { read_only: false }),
            BindingKind::TexelRead => texels(wgpu::StorageTextureAccess::ReadOnly),
            BindingKind::TexelWrite => texels(wgpu::StorageTextureAccess::WriteOnly),
            BindingKind::WordRead => texture(
                wgpu::TextureFormat::Rgba32Uint,
                wgpu::StorageTextureAccess::ReadOnly,
            ),
        },
        count: None,
    }
}
