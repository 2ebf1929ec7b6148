//! A Radeon's compiler without the Radeon: Mesa's RADV poses as any of them (`RADV_FORCE_FAMILY`) and compiles; nothing
//! can run. wgpu does not open such a device, so this is Vulkan itself.

use std::collections::BTreeMap;
use std::error::Error;
use std::ffi::{CStr, c_char};

use ash::vk;
use naga::{AddressSpace, ImageClass, TypeInner};

/// The compiler of the Radeon that `RADV_FORCE_FAMILY` names.
pub struct Compiler {
    device: ash::Device,
    statistics: ash::khr::pipeline_executable_properties::Device,
    /// As the driver names the Radeon.
    pub name: String,
    /// Whether it has cooperative matrices.
    pub matrices: bool,
    _instance: ash::Instance,
    _entry: ash::Entry,
}

/// What became of a kernel.
pub struct Compiled {
    /// Invocations per subgroup.
    pub subgroup: u32,
    /// By the driver's names, such as `VGPRs`.
    pub statistics: BTreeMap<String, u64>,
    pub assembly: String,
}

impl Compiler {
    pub fn open() -> Result<Self, Box<dyn Error>> {
        // SAFETY: the loader is the system's; structures outlive the calls they are given to, and the instance and the
        // device live as long as the process.
        unsafe {
            let entry = ash::Entry::load()?;
            let application = vk::ApplicationInfo::default().api_version(vk::API_VERSION_1_3);
            let info = vk::InstanceCreateInfo::default().application_info(&application);
            let instance = entry.create_instance(&info, None)?;
            let [physical] = instance.enumerate_physical_devices()?[..] else {
                return Err("one Radeon, please: VK_ICD_FILENAMES names the driver".into());
            };
            let properties = instance.get_physical_device_properties(physical);
            let extensions = instance.enumerate_device_extension_properties(physical)?;
            let has = |name: &CStr| {
                let own = |extension: &vk::ExtensionProperties| {
                    extension.extension_name_as_c_str() == Ok(name)
                };
                extensions.iter().any(own)
            };
            let matrices = has(ash::khr::cooperative_matrix::NAME);
            let mut enabled = vec![ash::khr::pipeline_executable_properties::NAME.as_ptr()];
            enabled.extend(matrices.then_some(ash::khr::cooperative_matrix::NAME.as_ptr()));
            let queue = [vk::DeviceQueueCreateInfo::default().queue_priorities(&[1.0])];
            let mut cooperative =
                vk::PhysicalDeviceCooperativeMatrixFeaturesKHR::default().cooperative_matrix(true);
            let mut executable =
                vk::PhysicalDevicePipelineExecutablePropertiesFeaturesKHR::default()
                    .pipeline_executable_info(true);
            let mut v11 =
                vk::PhysicalDeviceVulkan11Features::default().storage_buffer16_bit_access(true);
            let mut v12 = vk::PhysicalDeviceVulkan12Features::default()
                .shader_float16(true)
                .vulkan_memory_model(true);
            let mut info = vk::DeviceCreateInfo::default()
                .queue_create_infos(&queue)
                .enabled_extension_names(&enabled)
                .push_next(&mut executable)
                .push_next(&mut v11)
                .push_next(&mut v12);
            if matrices {
                info = info.push_next(&mut cooperative);
            }
            let device = instance.create_device(physical, &info, None)?;
            Ok(Self {
                statistics: ash::khr::pipeline_executable_properties::Device::new(
                    &instance, &device,
                ),
                name: properties.device_name_as_c_str()?.to_str()?.to_owned(),
                matrices,
                device,
                _instance: instance,
                _entry: entry,
            })
        }
    }

    /// What the driver makes of a kernel's SPIR-V; `module` has its bindings, all in group 0.
    pub fn compile(&self, module: &naga::Module, spirv: &[u32]) -> Result<Compiled, vk::Result> {
        let bindings: Vec<_> = bindings(module).collect();
        let info = vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings);
        // SAFETY: as above; the SPIR-V is naga's, and its one entry point is called `main`.
        unsafe {
            let layouts = [self.device.create_descriptor_set_layout(&info, None)?];
            let info = vk::PipelineLayoutCreateInfo::default().set_layouts(&layouts);
            let layout = self.device.create_pipeline_layout(&info, None)?;
            let info = vk::ShaderModuleCreateInfo::default().code(spirv);
            let shader = self.device.create_shader_module(&info, None)?;
            let stage = vk::PipelineShaderStageCreateInfo::default()
                .stage(vk::ShaderStageFlags::COMPUTE)
                .module(shader)
                .name(c"main");
            let kept = vk::PipelineCreateFlags::CAPTURE_STATISTICS_KHR
                | vk::PipelineCreateFlags::CAPTURE_INTERNAL_REPRESENTATIONS_KHR;
            let info = [vk::ComputePipelineCreateInfo::default()
                .flags(kept)
                .stage(stage)
                .layout(layout)];
            let made = self
                .device
                .create_compute_pipelines(vk::PipelineCache::null(), &info, None);
            let pipeline = made.map_err(|(_, error)| error)?[0];
            let compiled = self.read(pipeline);
            self.device.destroy_pipeline(pipeline, None);
            self.device.destroy_shader_module(shader, None);
            self.device.destroy_pipeline_layout(layout, None);
            self.device.destroy_descriptor_set_layout(layouts[0], None);
            compiled
        }
    }

    /// # Safety
    /// The pipeline is this device's and was told to keep what is read.
    unsafe fn read(&self, pipeline: vk::Pipeline) -> Result<Compiled, vk::Result> {
        let info = vk::PipelineExecutableInfoKHR::default().pipeline(pipeline);
        // SAFETY: the caller's promise; unions are read as their format says.
        let found = unsafe { self.statistics.get_pipeline_executable_statistics(&info)? };
        let number = |found: &vk::PipelineExecutableStatisticKHR| unsafe {
            match found.format {
                vk::PipelineExecutableStatisticFormatKHR::FLOAT64 => found.value.f64 as u64,
                _ => found.value.u64,
            }
        };
        let statistics = found
            .iter()
            .map(|found| (text(&found.name), number(found)))
            .collect();
        let pipeline = vk::PipelineInfoKHR::default().pipeline(pipeline);
        let own = unsafe {
            self.statistics
                .get_pipeline_executable_properties(&pipeline)?
        };
        let sizes = unsafe {
            self.statistics
                .get_pipeline_executable_internal_representations(&info)?
        };
        let mut contents: Vec<_> = sizes
            .iter()
            .map(|found| vec![0u8; found.data_size])
            .collect();
        let mut filled: Vec<_> = contents
            .iter_mut()
            .map(|content| vk::PipelineExecutableInternalRepresentationKHR {
                data_size: content.len(),
                p_data: content.as_mut_ptr().cast(),
                ..Default::default()
            })
            .collect();
        let mut count = filled.len() as u32;
        // SAFETY: each has room for what it was said to need.
        unsafe {
            let read = self.statistics.fp();
            (read.get_pipeline_executable_internal_representations_khr)(
                self.device.handle(),
                &info,
                &mut count,
                filled.as_mut_ptr(),
            )
            .result()?;
        }
        let names: Vec<_> = filled.iter().map(|found| text(&found.name)).collect();
        let at = names.iter().position(|name| name == "Assembly");
        let content = at.map(|at| String::from_utf8_lossy(&contents[at]).into_owned());
        Ok(Compiled {
            subgroup: own[0].subgroup_size,
            statistics,
            assembly: content.unwrap_or_default(),
        })
    }
}

/// What a kernel is given, as Vulkan calls it.
fn bindings(
    module: &naga::Module,
) -> impl Iterator<Item = vk::DescriptorSetLayoutBinding<'static>> {
    module.global_variables.iter().filter_map(|(_, global)| {
        let binding = global.binding?;
        let kind = match (global.space, &module.types[global.ty].inner) {
            (AddressSpace::Uniform, _) => vk::DescriptorType::UNIFORM_BUFFER,
            (AddressSpace::Storage { .. }, _) => vk::DescriptorType::STORAGE_BUFFER,
            (_, TypeInner::Image { class, .. }) => match class {
                ImageClass::Storage { .. } => vk::DescriptorType::STORAGE_IMAGE,
                _ => vk::DescriptorType::SAMPLED_IMAGE,
            },
            (space, _) => panic!("a binding in {space:?}"),
        };
        assert_eq!(binding.group, 0);
        Some(
            vk::DescriptorSetLayoutBinding::default()
                .binding(binding.binding)
                .descriptor_type(kind)
                .descriptor_count(1)
                .stage_flags(vk::ShaderStageFlags::COMPUTE),
        )
    })
}

fn text(name: &[c_char]) -> String {
    let bytes = name.iter().map(|byte| *byte as u8);
    let bytes: Vec<_> = bytes.take_while(|byte| *byte != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}
