//! The part of Python's pickle, protocol 2, that `torch.save` needs for tensors. A pickle is a program; this runs the
//! instructions that build numbers, texts, containers and tensors, and refuses every other one. Of the functions that a
//! pickle may name, three are known, and what they do is done here: no Python is called.
//!
//! Values lie in one list and name each other by their places, so that neither depth nor cycles matter, and every
//! instruction adds one value at most: memory is bounded by the length of the pickle.

use std::collections::HashMap;

use safetensors::Dtype;

use super::Refused;
use super::strided::{Storage, Strided};
use crate::formats::printable;

/// Characters of a name from a file that a message shows.
const SHOWN: usize = 100;

/// A place in the list of values.
pub(super) type Id = u32;

#[derive(Debug)]
pub(super) enum Value<'a> {
    Integer(i64),
    Text(&'a str),
    Tuple(Vec<Id>),
    Dictionary(Vec<(Id, Id)>),
    /// Whose elements nothing here needs.
    List,
    Known(Known),
    Storage(Storage<'a>),
    Tensor(Box<Strided<'a>>),
    /// None, a truth value or a float.
    Other,
}

/// What a pickle may name.
#[derive(Debug, Clone, Copy)]
pub(super) enum Known {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    Storage(Dtype),
}

impl Known {
    fn find(module: &str, name: &str) -> Option<Self> {
        Some(match (module, name) {
            ("collections", "OrderedDict") => Self::OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2") => Self::RebuildTensor,
            ("torch._utils", "_rebuild_parameter") => Self::RebuildParameter,
            ("torch", "HalfStorage") => Self::Storage(Dtype::F16),
            ("torch", "BFloat16Storage") => Self::Storage(Dtype::BF16),
            ("torch", "FloatStorage") => Self::Storage(Dtype::F32),
            ("torch", "DoubleStorage") => Self::Storage(Dtype::F64),
            ("torch", "LongStorage") => Self::Storage(Dtype::I64),
            _ => return None,
        })
    }
}

impl Value<'_> {
    /// What errors call it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Integer(_) => "an integer",
            Self::Text(_) => "a text",
            Self::Tuple(_) => "a tuple",
            Self::Dictionary(_) => "a dictionary",
            Self::List => "a list",
            Self::Known(_) => "a name of PyTorch",
            Self::Storage(_) => "a storage",
            Self::Tensor(_) => "a tensor",
            Self::Other => "None, a truth value or a float",
        }
    }
}

/// The values that a pickle has built.
pub(super) struct Pickle<'a> {
    values: Vec<Value<'a>>,
    pub root: Id,
}

impl<'a> Pickle<'a> {
    /// # Errors
    /// The pickle is cut short, contradicts itself, or does anything else than build what [`Value`] lists.
    pub fn read(bytes: &'a [u8]) -> Result<Self, Refused> {
        let machine = Machine {
            rest: bytes,
            values: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
        };
        machine.run()
    }

    pub fn value(&self, id: Id) -> &Value<'a> {
        &self.values[id as usize]
    }

    /// Those of a dictionary.
    pub fn entries(&self, id: Id) -> Option<&[(Id, Id)]> {
        match self.value(id) {
            Value::Dictionary(entries) => Some(entries),
            _ => None,
        }
    }
}

struct Machine<'a> {
    rest: &'a [u8],
    values: Vec<Value<'a>>,
    stack: Vec<Id>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

impl<'a> Machine<'a> {
    fn run(mut self) -> Result<Pickle<'a>, Refused> {
        loop {
            let [instruction] = self.bytes()?;
            match instruction {
                // PROTO
                0x80 => match self.bytes()? {
                    [2] => {}
                    [other] => {
                        return Err(Refused::other(format!(
                            "has a pickle of protocol {other}, expected 2, which `torch.save` writes"
                        )));
                    }
                },
                b'}' => self.push(Value::Dictionary(Vec::new())),
                b']' => self.push(Value::List),
                b')' => self.push(Value::Tuple(Vec::new())),
                // NONE, NEWTRUE, NEWFALSE
                b'N' | 0x88 | 0x89 => self.push(Value::Other),
                // BINFLOAT
                b'G' => {
                    self.bytes::<8>()?;
                    self.push(Value::Other);
                }
                // BININT, BININT1, BININT2, LONG1
                b'J' => {
                    let value = i32::from_le_bytes(self.bytes()?);
                    self.push(Value::Integer(value.into()));
                }
                b'K' => {
                    let [value] = self.bytes()?;
                    self.push(Value::Integer(value.into()));
                }
                b'M' => {
                    let value = u16::from_le_bytes(self.bytes()?);
                    self.push(Value::Integer(value.into()));
                }
                0x8a => self.long()?,
                // BINUNICODE
                b'X' => {
                    let length = u32::from_le_bytes(self.bytes()?);
                    let text = self.slice(length as usize)?;
                    let text = std::str::from_utf8(text)
                        .map_err(|_| Refused::damaged("a text in its pickle is no UTF-8"))?;
                    self.push(Value::Text(text));
                }
                b'(' => self.marks.push(self.stack.len()),
                // TUPLE, TUPLE1 to TUPLE3
                b't' => {
                    let items = self.pop_to_mark()?;
                    self.push(Value::Tuple(items));
                }
                0x85..=0x87 => {
                    let mut items = Vec::new();
                    for _ in 0x84..instruction {
                        items.insert(0, self.pop()?);
                    }
                    self.push(Value::Tuple(items));
                }
                // BINPUT, LONG_BINPUT, BINGET, LONG_BINGET
                b'q' => {
                    let [place] = self.bytes()?;
                    self.remember(place.into())?;
                }
                b'r' => {
                    let place = u32::from_le_bytes(self.bytes()?);
                    self.remember(place)?;
                }
                b'h' => {
                    let [place] = self.bytes()?;
                    self.recall(place.into())?;
                }
                b'j' => {
                    let place = u32::from_le_bytes(self.bytes()?);
                    self.recall(place)?;
                }
                // SETITEM, SETITEMS, APPEND, APPENDS
                b's' => {
                    let (value, key) = (self.pop()?, self.pop()?);
                    self.set(&[key, value])?;
                }
                b'u' => {
                    let items = self.pop_to_mark()?;
                    self.set(&items)?;
                }
                b'a' => {
                    self.pop()?;
                    self.require_list()?;
                }
                b'e' => {
                    self.pop_to_mark()?;
                    self.require_list()?;
                }
                // GLOBAL
                b'c' => {
                    let (module, name) = (self.line()?, self.line()?);
                    let known = Known::find(module, name).ok_or_else(|| unknown(module, name))?;
                    self.push(Value::Known(known));
                }
                // BINPERSID
                b'Q' => {
                    let id = self.pop()?;
                    let storage = self.storage(id)?;
                    self.push(Value::Storage(storage));
                }
                // REDUCE
                b'R' => {
                    let (arguments, function) = (self.pop()?, self.pop()?);
                    self.call(function, arguments)?;
                }
                // BUILD: the attributes of a state dict (versions of its modules)
                b'b' => {
                    self.pop()?;
                    self.top_dictionary()?;
                }
                // STOP
                b'.' => {
                    return match (&self.stack[..], self.rest, &self.marks[..]) {
                        (&[root], [], []) => Ok(Pickle {
                            values: self.values,
                            root,
                        }),
                        _ => Err(malformed("does not end with one value")),
                    };
                }
                other => {
                    return Err(Refused::other(format!(
                        "has the instruction {other:#04x} in its pickle, which weights do not need; it is not executed"
                    )));
                }
            }
        }
    }

    fn slice(&mut self, length: usize) -> Result<&'a [u8], Refused> {
        let (slice, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or_else(|| malformed("ends in the middle"))?;
        self.rest = rest;
        Ok(slice)
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], Refused> {
        let (bytes, rest) = self
            .rest
            .split_first_chunk()
            .ok_or_else(|| malformed("ends in the middle"))?;
        self.rest = rest;
        Ok(*bytes)
    }

    /// As text up to the end of a line.
    fn line(&mut self) -> Result<&'a str, Refused> {
        let length = self.rest.iter().position(|&byte| byte == b'\n');
        let line = self.slice(length.unwrap_or(usize::MAX))?;
        self.slice(1)?;
        std::str::from_utf8(line).map_err(|_| malformed("names something that is no text"))
    }

    /// A number of up to 255 bytes; those of more than eight stand for nothing here.
    fn long(&mut self) -> Result<(), Refused> {
        let [length] = self.bytes()?;
        let bytes = self.slice(length.into())?;
        let value = match bytes {
            [] => Value::Integer(0),
            [.., last] if bytes.len() <= 8 => {
                let mut extended = [if last & 0x80 == 0 { 0 } else { 0xff }; 8];
                extended[..bytes.len()].copy_from_slice(bytes);
                Value::Integer(i64::from_le_bytes(extended))
            }
            _ => Value::Other,
        };
        self.push(value);
        Ok(())
    }

    fn push(&mut self, value: Value<'a>) {
        // One an instruction, of which there are fewer than 2^32.
        self.stack.push(self.values.len() as Id);
        self.values.push(value);
    }

    fn pop(&mut self) -> Result<Id, Refused> {
        self.top()?;
        self.stack.pop().ok_or_else(empty)
    }

    /// Above the last mark.
    fn top(&self) -> Result<Id, Refused> {
        let floor = self.marks.last().copied().unwrap_or(0);
        self.stack[floor..].last().copied().ok_or_else(empty)
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Id>, Refused> {
        let mark = self.marks.pop().ok_or_else(empty)?;
        Ok(self.stack.split_off(mark))
    }

    fn remember(&mut self, place: u32) -> Result<(), Refused> {
        let top = self.top()?;
        self.memo.insert(place, top);
        Ok(())
    }

    fn recall(&mut self, place: u32) -> Result<(), Refused> {
        let known = self.memo.get(&place);
        let id = *known.ok_or_else(|| malformed("recalls what it never stored"))?;
        self.stack.push(id);
        Ok(())
    }

    fn value(&self, id: Id) -> &Value<'a> {
        &self.values[id as usize]
    }

    fn top_dictionary(&mut self) -> Result<&mut Vec<(Id, Id)>, Refused> {
        let top = self.top()?;
        match &mut self.values[top as usize] {
            Value::Dictionary(entries) => Ok(entries),
            other => Err(Refused::other(format!(
                "gives {} entries or attributes",
                other.kind()
            ))),
        }
    }

    fn require_list(&self) -> Result<(), Refused> {
        match self.value(self.top()?) {
            Value::List => Ok(()),
            other => Err(Refused::other(format!("appends to {}", other.kind()))),
        }
    }

    /// Keys and values in turn.
    fn set(&mut self, items: &[Id]) -> Result<(), Refused> {
        let (pairs, rest) = items.as_chunks();
        if !rest.is_empty() {
            return Err(malformed("has a key without a value"));
        }
        let entries = self.top_dictionary()?;
        entries.extend(pairs.iter().map(|&[key, value]| (key, value)));
        Ok(())
    }

    /// `("storage", TYPE, KEY, DEVICE, ELEMENTS)`.
    fn storage(&self, id: Id) -> Result<Storage<'a>, Refused> {
        let no_storage = || malformed("refers to something that is no storage");
        let Value::Tuple(items) = self.value(id) else {
            return Err(no_storage());
        };
        let &[tag, dtype, key, _, elements] = &items[..] else {
            return Err(no_storage());
        };
        match [tag, dtype, key, elements].map(|id| self.value(id)) {
            [
                Value::Text("storage"),
                &Value::Known(Known::Storage(dtype)),
                &Value::Text(key),
                &Value::Integer(elements),
            ] => Ok(Storage {
                dtype,
                key,
                elements: usize::try_from(elements).map_err(|_| no_storage())?,
            }),
            _ => Err(no_storage()),
        }
    }

    fn call(&mut self, function: Id, arguments: Id) -> Result<(), Refused> {
        let &Value::Known(function) = self.value(function) else {
            return Err(malformed("calls what is no function"));
        };
        let Value::Tuple(arguments) = self.value(arguments) else {
            return Err(malformed("calls a function without arguments"));
        };
        match (function, &arguments[..]) {
            (Known::OrderedDict, []) => self.push(Value::Dictionary(Vec::new())),
            // The two after the strides say what training does with the tensor.
            (Known::RebuildTensor, &[storage, offset, shape, strides, _, _]) => {
                let tensor = self.tensor(storage, [offset, shape, strides])?;
                self.push(Value::Tensor(Box::new(tensor)));
            }
            (Known::RebuildParameter, &[tensor, _, _])
                if matches!(self.value(tensor), Value::Tensor(_)) =>
            {
                self.stack.push(tensor);
            }
            // Among them views that negate or conjugate what is stored.
            _ => {
                return Err(Refused::other(
                    "builds a tensor in a way that weights do not need (a view that negates what is stored, for example)",
                ));
            }
        }
        Ok(())
    }

    fn tensor(
        &self,
        storage: Id,
        [offset, shape, strides]: [Id; 3],
    ) -> Result<Strided<'a>, Refused> {
        let Value::Storage(storage) = self.value(storage) else {
            return Err(malformed("has a tensor without a storage"));
        };
        let number = |id: Id| match self.value(id) {
            &Value::Integer(number) => usize::try_from(number).ok(),
            _ => None,
        };
        let numbers = |id: Id| match self.value(id) {
            Value::Tuple(items) => items.iter().map(|&item| number(item)).collect(),
            _ => None,
        };
        let place = (number(offset), numbers(shape), numbers(strides));
        let (Some(offset), Some(shape), Some(strides)) = place else {
            return Err(malformed(
                "has a tensor whose offset, shape or strides are no natural numbers",
            ));
        };
        Strided::new(*storage, offset, shape, strides)
    }
}

fn malformed(what: &str) -> Refused {
    Refused::damaged(format!("its pickle {what}"))
}

fn empty() -> Refused {
    malformed("takes a value where none is")
}

fn unknown(module: &str, name: &str) -> Refused {
    let name: String = format!("{module}.{name}").chars().take(SHOWN).collect();
    Refused::other(format!(
        "names `{}`, and a file of weights names tensors only; it is not executed, and not read",
        printable(name)
    ))
}
