//! Which adapter to run on, and what to say when there is none.

use std::fmt;

use super::GpuError;
#[cfg(target_arch = "x86_64")]
use super::lavapipe;

/// How the user names an adapter: a part of its name, its number, `cpu` or `gpu`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AdapterChoice {
    /// The fastest kind there is: discrete, integrated, virtual, then software.
    #[default]
    Best,
    /// The software adapter (llvmpipe, SwiftShader, WARP).
    Cpu,
    /// Any hardware adapter.
    Gpu,
    /// The position in `bayeslora devices`.
    Index(usize),
    /// A part of the adapter's name, in any case.
    Name(String),
}

impl std::str::FromStr for AdapterChoice {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text.to_lowercase().as_str() {
            "" | "best" => Self::Best,
            "cpu" => Self::Cpu,
            "gpu" => Self::Gpu,
            other => match other.parse() {
                Ok(index) => Self::Index(index),
                Err(_) => Self::Name(text.to_owned()),
            },
        })
    }
}

/// As the user wrote it: what [`FromStr`](std::str::FromStr) reads.
impl fmt::Display for AdapterChoice {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Best => f.write_str("best"),
            Self::Cpu => f.write_str("cpu"),
            Self::Gpu => f.write_str("gpu"),
            Self::Index(index) => index.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

/// Every adapter of this system, best first; the order is the index users see.
pub struct Adapters {
    /// In the order of their numbers.
    pub list: Vec<wgpu::Adapter>,
    backends: wgpu::Backends,
}

impl Adapters {
    /// Asks these back ends for their adapters; the kernels run on [`wgpu::Backends::PRIMARY`].
    pub async fn enumerate(backends: wgpu::Backends) -> Self {
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
            backends,
            flags: wgpu::InstanceFlags::empty(),
            ..wgpu::InstanceDescriptor::new_without_display_handle()
        });
        let mut list = instance.enumerate_adapters(backends).await;
        list.sort_by_key(|adapter| preference(adapter.get_info().device_type));
        Self { list, backends }
    }

    /// The adapter that `choice` means.
    ///
    /// # Errors
    /// There is none at all, or none that matches.
    pub fn choose(mut self, choice: &AdapterChoice) -> Result<wgpu::Adapter, GpuError> {
        let index = self.index_of(choice)?;
        Ok(self.list.swap_remove(index))
    }

    /// The place of the adapter that `choice` means.
    ///
    /// # Errors
    /// There is none at all, or none that matches.
    pub fn index_of(&self, choice: &AdapterChoice) -> Result<usize, GpuError> {
        if self.list.is_empty() {
            return Err(GpuError::NoAdapter {
                hint: self
                    .backends_hint()
                    .or_else(named_drivers_hint)
                    .or_else(memory_hint)
                    .unwrap_or_else(install_hint),
            });
        }
        let matches = |(index, adapter): (usize, &wgpu::Adapter)| {
            let info = adapter.get_info();
            let software = info.device_type == wgpu::DeviceType::Cpu;
            match choice {
                AdapterChoice::Best => true,
                AdapterChoice::Cpu => software,
                AdapterChoice::Gpu => !software,
                AdapterChoice::Index(wanted) => index == *wanted,
                AdapterChoice::Name(name) => {
                    info.name.to_lowercase().contains(&name.to_lowercase())
                }
            }
        };
        self.list
            .iter()
            .enumerate()
            .position(matches)
            .ok_or_else(|| GpuError::NoSuchAdapter {
                wanted: choice.to_string(),
                available: self.describe(),
            })
    }

    /// Where not all back ends were asked.
    fn backends_hint(&self) -> Option<String> {
        let left_out = !self.backends.contains(wgpu::Backends::PRIMARY);
        let asked: Vec<_> = self.backends.iter_names().map(|(name, _)| name).collect();
        left_out.then(|| {
            format!(
                "only the back ends {} were asked (WGPU_BACKEND, or the option `backends`); if that is right, {}",
                asked.join(", "),
                install_hint()
            )
        })
    }

    fn describe(&self) -> String {
        let names: Vec<_> = self
            .list
            .iter()
            .enumerate()
            .map(|(index, adapter)| format!("{index}: {}", adapter.get_info().name))
            .collect();
        names.join(", ")
    }
}

fn preference(kind: wgpu::DeviceType) -> u8 {
    match kind {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::IntegratedGpu => 1,
        wgpu::DeviceType::VirtualGpu => 2,
        wgpu::DeviceType::Other => 3,
        wgpu::DeviceType::Cpu => 4,
    }
}

/// Where the environment names the drivers: the Vulkan loader looks for no other.
fn named_drivers_hint() -> Option<String> {
    let names = ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"];
    let (name, files) = names
        .into_iter()
        .find_map(|name| Some((name, std::env::var_os(name)?)))?;
    Some(format!(
        "{name} is set to {:?}, so that Vulkan drivers are looked for there alone: correct or unset it; if it is \
         right, {}",
        files.to_string_lossy(),
        install_hint()
    ))
}

/// Where the shell limits memory: drivers reserve far more addresses than they use, and a driver that
/// does not get them is as if there were none.
fn memory_hint() -> Option<String> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let mut lines = limits.lines();
    let addresses = lines.find_map(|line| line.strip_prefix("Max address space"))?;
    let bytes: u64 = addresses.split_whitespace().next()?.parse().ok()?;
    Some(format!(
        "the address space is limited to {bytes} bytes (`ulimit -v`), in which no driver may have found \
         room: lift the limit, or limit memory with a cgroup; where there is no limit, {}",
        install_hint()
    ))
}

/// How to get an adapter on this system.
pub fn install_hint() -> String {
    match std::env::consts::OS {
        "linux" => "run `sh setup.sh`, or install a Vulkan driver yourself (software: \
                    `apt-get install mesa-vulkan-drivers`, `dnf install mesa-vulkan-drivers`, \
                    `pacman -S vulkan-swrast` or `apk add mesa-vulkan-swrast`)"
            .into(),
        "macos" => "Metal comes with macOS 10.13 and later; this Mac offers none".into(),
        "windows" => "DirectX 12 comes with Windows 10 and later; update the display driver".into(),
        other => format!("install a Vulkan driver for {other}"),
    }
}

/// Sets what drivers read from the environment, where the user has not.
///
/// * llvmpipe of Mesa 22 uses 512-bit vectors where the CPU has them: convolutions run about 1.5 times faster. Later
///   versions are left at their own 256 bits, with which they are faster. Mesa 25.0 moreover keeps compiled functions of
///   both widths under one key in its cache on disk, and crashes on those of the other.
/// * Mesa's device-selection layer, which would complain on standard error where there is no
///   session, stays out: this program selects for itself.
///
/// Call it before the first Vulkan instance is made: drivers read these once.
///
/// # Safety
/// No other thread may read or write the environment meanwhile. The beginning of `main` is the place for it.
pub unsafe fn prepare_environment() {
    #[cfg(target_arch = "x86_64")]
    const VECTOR_WIDTH: &str = "LP_NATIVE_VECTOR_WIDTH";
    let set = |name: &str, value: &str| {
        if std::env::var_os(name).is_none() {
            // SAFETY: the caller sees to it.
            unsafe { std::env::set_var(name, value) };
        }
    };
    #[cfg(target_arch = "x86_64")]
    if std::env::var_os(VECTOR_WIDTH).is_none()
        && std::is_x86_feature_detected!("avx512f")
        && lavapipe::newest_version().is_some_and(|(major, _)| major <= 22)
    {
        set(VECTOR_WIDTH, "512");
    }
    if cfg!(target_os = "linux") && std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        set("NODEVICE_SELECT", "1");
    }
}
