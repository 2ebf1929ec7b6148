//! A shader's `params` uniform, filled by name.

use super::kernel::{Kernel, Member};

/// The value of a member of a shader's `params`.
#[derive(Clone, Copy, Debug)]
pub enum Value {
    U(u32),
    F(f32),
}

impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Self::U(value)
    }
}

impl From<f32> for Value {
    fn from(value: f32) -> Self {
        Self::F(value)
    }
}

/// The bytes of a kernel's `params`; its `tiles` are the workgroups.
///
/// # Panics
/// When a member is not given, given twice over or of another type: bugs in this program.
pub(super) fn encode(
    label: &str,
    kernel: &Kernel,
    params: &[(&str, Value)],
    workgroups: u64,
) -> Vec<u8> {
    let mut bytes = vec![0; kernel.params_size as usize];
    let mut given = params.len();
    for Member {
        name,
        offset,
        float,
    } in &kernel.members
    {
        let value = match params.iter().find(|(given, _)| given == name) {
            Some((_, value)) => *value,
            None if name == "tiles" => {
                given += 1;
                Value::U(u32::try_from(workgroups).expect("tiles fit 32 bits"))
            }
            None => panic!("{label}: no parameter {name:?}"),
        };
        let word = match (value, float) {
            (Value::U(value), false) => value.to_le_bytes(),
            (Value::F(value), true) => value.to_le_bytes(),
            _ => panic!("{label}: parameter {name:?} has another type"),
        };
        bytes[*offset as usize..][..4].copy_from_slice(&word);
    }
    assert_eq!(
        given,
        kernel.members.len(),
        "{label}: parameters {} does not know",
        kernel.name
    );
    bytes
}
