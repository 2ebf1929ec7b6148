//! Computes an ONNX graph in f64, strictly: what is not exactly as the operators' definitions have it fails.

use bayeslora::low_level::formats::onnx::{Extent, Graph, Model, Node, data_type};
use prost::Message;

use crate::reference::conv::{Geometry, conv2d};
use crate::reference::head::linear;
use crate::reference::pool::{average_pool, max_pool};
use crate::reference::resnet::Named;
use crate::reference::tensor::Tensor;

/// Decodes a file and checks what holds of every one.
pub fn decode(bytes: &[u8]) -> Model {
    let model = Model::decode(bytes).unwrap();
    assert_eq!(model.encode_to_vec(), bytes, "fields are lost");
    assert_eq!(model.ir_version, 8);
    let sets = &model.opset_import;
    assert_eq!((sets.len(), &*sets[0].domain, sets[0].version), (1, "", 17));
    model
}

pub fn metadata(model: &Model, key: &str) -> String {
    let mut found = model.metadata_props.iter().filter(|entry| entry.key == key);
    let value = found.next().unwrap_or_else(|| panic!("no {key}"));
    assert!(found.next().is_none(), "{key} twice");
    value.value.clone()
}

/// All values by name; nodes must stand in an order in which they can be computed, and no constant is without use.
pub fn compute(graph: &Graph, inputs: &[(&str, Tensor)]) -> Named<Tensor> {
    let mut values = Named::new();
    let mut unused = Vec::new();
    for tensor in &graph.initializer {
        let shape: Vec<usize> = tensor.dims.iter().map(|&size| size as usize).collect();
        let data = match tensor.data_type {
            data_type::FLOAT => floats(&tensor.raw_data),
            data_type::INT64 => {
                let (chunks, rest) = tensor.raw_data.as_chunks();
                assert!(rest.is_empty());
                chunks
                    .iter()
                    .map(|&b| i64::from_le_bytes(b) as f64)
                    .collect()
            }
            other => panic!("type {other}"),
        };
        let tensor_value = Tensor::new(&shape, data);
        assert!(values.insert(tensor.name.clone(), tensor_value).is_none());
        unused.push(&tensor.name);
    }
    assert_eq!(graph.input.len(), inputs.len(), "inputs");
    let mut batch = None;
    for (info, (name, value)) in graph.input.iter().zip(inputs) {
        assert_eq!(info.name, *name);
        fits(info, value, &mut batch);
        assert!(values.insert(info.name.clone(), value.clone()).is_none());
    }
    for node in &graph.node {
        for input in &node.input {
            assert!(
                values.contains_key(input),
                "{input} of {} is not there yet",
                node.name
            );
            unused.retain(|name| *name != input);
        }
        let arguments: Vec<&Tensor> = node.input.iter().map(|name| &values[name]).collect();
        let results = apply(node, &arguments);
        assert_eq!(results.len(), node.output.len(), "{}", node.name);
        for (name, result) in node.output.iter().zip(results) {
            assert!(
                values.insert(name.clone(), result).is_none(),
                "{name} twice"
            );
        }
    }
    assert!(unused.is_empty(), "without use: {unused:?}");
    for info in &graph.output {
        fits(info, &values[&info.name], &mut batch);
    }
    values
}

fn floats(bytes: &[u8]) -> Vec<f64> {
    let (chunks, rest) = bytes.as_chunks();
    assert!(rest.is_empty());
    chunks
        .iter()
        .map(|&b| f64::from(f32::from_le_bytes(b)))
        .collect()
}

/// A value has the shape that is declared, and `batch` is one number.
fn fits(
    info: &bayeslora::low_level::formats::onnx::ValueInfo,
    value: &Tensor,
    batch: &mut Option<usize>,
) {
    let declared = info.r#type.as_ref().unwrap().tensor_type.as_ref().unwrap();
    let expected: Vec<usize> = declared
        .shape
        .as_ref()
        .unwrap()
        .dim
        .iter()
        .zip(&value.shape)
        .map(|(dim, found)| match dim.value.as_ref().unwrap() {
            Extent::DimValue(size) => *size as usize,
            Extent::DimParam(name) => {
                assert_eq!(name, "batch");
                *batch.get_or_insert(*found)
            }
        })
        .collect();
    assert_eq!(value.shape, expected, "{}", info.name);
}

fn apply(node: &Node, x: &[&Tensor]) -> Vec<Tensor> {
    let ints = |name: &str| -> Vec<usize> {
        let found = node
            .attribute
            .iter()
            .find(|attribute| attribute.name == name);
        let found = found.unwrap_or_else(|| panic!("{} without {name}", node.name));
        assert_eq!((found.r#type, found.i), (7, None));
        found.ints.iter().map(|&value| value as usize).collect()
    };
    let int = |name: &str| {
        let found = node
            .attribute
            .iter()
            .find(|attribute| attribute.name == name);
        let found = found.unwrap_or_else(|| panic!("{} without {name}", node.name));
        assert_eq!((found.r#type, found.ints.len()), (2, 0));
        found.i.unwrap()
    };
    let geometry = || {
        let (strides, pads) = (ints("strides"), ints("pads"));
        assert!(strides == [strides[0]; 2] && pads == [pads[0]; 4]);
        Geometry::new(strides[0], pads[0])
    };
    let result = match (&*node.op_type, x) {
        ("Cast", [x]) => {
            assert_eq!(int("to"), i64::from(data_type::FLOAT));
            (*x).clone()
        }
        ("Transpose", [x]) => transposed(x, &ints("perm")),
        ("Sub", [a, b]) => broadcast(&[a, b], |v| v[0] - v[1]),
        ("Div", [a, b]) => broadcast(&[a, b], |v| v[0] / v[1]),
        ("Mul", [a, b]) => broadcast(&[a, b], |v| v[0] * v[1]),
        ("Add", [a, b]) => broadcast(&[a, b], |v| v[0] + v[1]),
        ("Less", [a, b]) => broadcast(&[a, b], |v| f64::from(v[0] < v[1])),
        ("Where", [c, a, b]) => broadcast(&[c, a, b], |v| if v[0] != 0.0 { v[1] } else { v[2] }),
        ("Relu", [x]) => x.map(|v| v.max(0.0)),
        // Without attributes: stride 1, no padding.
        ("Conv", [x, w]) if node.attribute.is_empty() => conv2d(x, w, Geometry::new(1, 0)),
        ("Conv", [x, w, rest @ ..]) => {
            assert_eq!(ints("kernel_shape"), w.shape[2..]);
            let y = conv2d(x, w, geometry());
            match rest {
                [] => y,
                [b] => broadcast(&[&y, &b.reshaped(&[1, b.shape[0], 1, 1])], |v| v[0] + v[1]),
                _ => panic!("{} inputs", x.shape.len()),
            }
        }
        ("MaxPool", [x]) => {
            assert_eq!(ints("kernel_shape"), [3, 3]);
            assert_eq!((ints("strides"), ints("pads")), (vec![2; 2], vec![1; 4]));
            max_pool(x)
        }
        ("GlobalAveragePool", [x]) => {
            let [n, c, ..] = x.dims4();
            average_pool(x).reshaped(&[n, c, 1, 1])
        }
        ("Flatten", [x]) => {
            assert_eq!(int("axis"), 1);
            x.reshaped(&[x.shape[0], x.shape[1..].iter().product()])
        }
        ("Gemm", [x, w, rest @ ..]) => {
            assert_eq!(int("transB"), 1);
            let zeros = Tensor::zeros(&w.shape[..1]);
            linear(x, w, rest.first().unwrap_or(&&zeros))
        }
        ("Softmax", [x]) => {
            assert_eq!(int("axis") as usize, x.shape.len() - 1);
            softmax(x)
        }
        ("ReduceMean", [x]) => {
            assert_eq!((ints("axes"), int("keepdims")), (vec![0], 0));
            let (count, rest) = (x.shape[0], &x.shape[1..]);
            let each: usize = rest.iter().product();
            let sum = |i| (0..count).map(|s| x.data[s * each + i]).sum::<f64>();
            Tensor::from_fn(rest, |i| sum(i) / count as f64)
        }
        ("Reshape", [x, shape]) => {
            let known: f64 = shape.data.iter().filter(|size| **size > 0.0).product();
            let free = x.data.len() / known as usize;
            let size = |size: &f64| if *size < 0.0 { free } else { *size as usize };
            x.reshaped(&shape.data.iter().map(size).collect::<Vec<_>>())
        }
        ("Tile", [x, counts]) => {
            assert_eq!(counts.data[1..], [1.0; 3]);
            let mut shape = x.shape.clone();
            shape[0] *= counts.data[0] as usize;
            Tensor::new(&shape, x.data.repeat(counts.data[0] as usize))
        }
        ("Unsqueeze", [x, axes]) => {
            assert_eq!(axes.data, [2.0, 3.0]);
            let [rows, ranks] = x.dims2();
            x.reshaped(&[rows, ranks, 1, 1])
        }
        ("Split", [x, sizes]) => {
            assert_eq!(int("axis"), 1);
            let [rows, columns] = x.dims2();
            assert_eq!(sizes.data.iter().sum::<f64>() as usize, columns);
            let mut start = 0;
            let part = |&size: &f64| {
                let (first, size) = (start, size as usize);
                start += size;
                Tensor::from_fn(&[rows, size], |i| x.at(&[i / size, first + i % size]))
            };
            return sizes.data.iter().map(part).collect();
        }
        (op, _) => panic!("{op} with {} inputs", x.len()),
    };
    vec![result]
}

pub fn softmax(x: &Tensor) -> Tensor {
    let columns = *x.shape.last().unwrap();
    let mut out = x.clone();
    for row in out.data.chunks_mut(columns) {
        let largest = row.iter().copied().fold(f64::MIN, f64::max);
        row.iter_mut().for_each(|v| *v = (*v - largest).exp());
        let sum: f64 = row.iter().sum();
        row.iter_mut().for_each(|v| *v /= sum);
    }
    out
}

fn transposed(x: &Tensor, order: &[usize]) -> Tensor {
    let shape: Vec<usize> = order.iter().map(|&axis| x.shape[axis]).collect();
    Tensor::from_fn(&shape, |index| {
        let mut at = vec![0; order.len()];
        let mut rest = index;
        for (place, &size) in shape.iter().enumerate().rev() {
            at[order[place]] = rest % size;
            rest /= size;
        }
        x.at(&at)
    })
}

/// NumPy's rule: shapes are aligned at their ends, and a size of 1 stands for any.
fn broadcast(all: &[&Tensor], f: impl Fn(&[f64]) -> f64) -> Tensor {
    let axes = all.iter().map(|x| x.shape.len()).max().unwrap();
    let size = |x: &Tensor, axis: usize| {
        let missing = axes - x.shape.len();
        if axis < missing {
            1
        } else {
            x.shape[axis - missing]
        }
    };
    let sizes = (0..axes).map(|axis| all.iter().map(|x| size(x, axis)).max().unwrap());
    let shape: Vec<usize> = sizes.collect();
    for (axis, expected) in shape.iter().enumerate() {
        assert!(all.iter().all(|x| [1, *expected].contains(&size(x, axis))));
    }
    Tensor::from_fn(&shape, |index| {
        let value = |x: &&Tensor| {
            let (mut rest, mut stride, mut place) = (index, 1, 0);
            for (axis, extent) in shape.iter().enumerate().rev() {
                let (own, at) = (size(x, axis), rest % extent);
                place += if own == 1 { 0 } else { at * stride };
                (rest, stride) = (rest / extent, stride * own);
            }
            x.data[place]
        };
        f(&all.iter().map(value).collect::<Vec<_>>())
    })
}
