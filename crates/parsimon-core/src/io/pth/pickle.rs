//! The machine: pickle instructions that describe a dictionary of tensors, and no others.

use std::collections::BTreeMap;

use super::error::{Place, PthError};
use crate::DType;

/// The most items on the stack.
const STACK_MAX: usize = 65_536;

/// The deepest nesting of containers.
const DEPTH_MAX: usize = 64;

/// The most values that the program may make, copies of remembered ones included.
const VALUES_MAX: usize = 1 << 22;

/// A storage that a pickle names.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct StorageRef {
    /// Digits.
    pub(super) key: String,
    pub(super) dtype: DType,
    pub(super) numel: u64,
}

/// A tensor that a pickle describes.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct TensorRef {
    pub(super) storage: StorageRef,
    pub(super) offset: u64,
    pub(super) shape: Vec<usize>,
    pub(super) stride: Vec<u64>,
}

/// The names that a pickle may use.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Global {
    RebuildTensor,
    RebuildParameter,
    OrderedDict,
    Storage(DType),
}

impl Global {
    fn find(module: &str, name: &str) -> Option<Global> {
        match (module, name) {
            ("torch._utils", "_rebuild_tensor_v2") => Some(Global::RebuildTensor),
            ("torch._utils", "_rebuild_parameter") => Some(Global::RebuildParameter),
            ("collections", "OrderedDict") => Some(Global::OrderedDict),
            ("torch", name) => Some(Global::Storage(match name {
                "FloatStorage" => DType::F32,
                "HalfStorage" => DType::F16,
                "BFloat16Storage" => DType::BF16,
                "DoubleStorage" => DType::F64,
                "LongStorage" => DType::I64,
                "IntStorage" => DType::I32,
                "ShortStorage" => DType::I16,
                "CharStorage" => DType::I8,
                "ByteStorage" => DType::U8,
                "BoolStorage" => DType::Bool,
                _ => return None,
            })),
            _ => None,
        }
    }
}

#[derive(Clone, Debug)]
enum Value {
    Mark,
    /// Nothing, a float, or what is not looked at.
    Other,
    Bool,
    Int(i64),
    Text(String),
    List(Vec<Value>),
    Tuple(Vec<Value>),
    Dict(Vec<(Value, Value)>),
    Global(Global),
    Storage(StorageRef),
    Tensor(Box<TensorRef>),
}

impl Value {
    fn depth(&self) -> usize {
        match self {
            Value::List(items) | Value::Tuple(items) => 1 + items.iter().map(Value::depth).max().unwrap_or(0),
            Value::Dict(items) => 1 + items.iter().map(|(_, value)| value.depth()).max().unwrap_or(0),
            _ => 0,
        }
    }

    /// How many values it consists of.
    fn size(&self) -> usize {
        match self {
            Value::List(items) | Value::Tuple(items) => 1 + items.iter().map(Value::size).sum::<usize>(),
            Value::Dict(items) => 1 + items.iter().map(|(key, value)| key.size() + value.size()).sum::<usize>(),
            Value::Tensor(tensor) => 1 + tensor.shape.len(),
            _ => 1,
        }
    }
}

/// The tensors of the dictionary that a pickle makes, at most `limit`.
pub(super) fn tensors(program: &[u8], limit: usize, place: Place<'_>) -> Result<Vec<(String, TensorRef)>, PthError> {
    let machine = Machine { program, at: 0, op_at: 0, stack: Vec::new(), memo: BTreeMap::new(), values: 0, place };
    let Value::Dict(items) = machine.run()? else {
        return Err(place.bad_pickle("it does not make a dictionary".into(), program.len()));
    };
    if items.len() > limit {
        return Err(place.limit("tensors", items.len() as u64, limit as u64));
    }
    let mut tensors = BTreeMap::new();
    for (name, value) in items {
        if let (Value::Text(name), Value::Tensor(tensor)) = (name, value) {
            tensors.insert(name, *tensor);
        }
    }
    Ok(tensors.into_iter().collect())
}

struct Machine<'a> {
    program: &'a [u8],
    at: usize,
    /// Where the instruction at hand begins.
    op_at: usize,
    stack: Vec<Value>,
    memo: BTreeMap<u64, Value>,
    values: usize,
    place: Place<'a>,
}

impl<'a> Machine<'a> {
    fn run(mut self) -> Result<Value, PthError> {
        loop {
            self.op_at = self.at;
            let [op] = self.take()?;
            if op == b'.' {
                return self.pop();
            }
            self.step(op)?;
            if self.stack.len() > STACK_MAX {
                return Err(self.place.limit("items on the pickle's stack", self.stack.len() as u64, STACK_MAX as u64));
            }
        }
    }

    fn step(&mut self, op: u8) -> Result<(), PthError> {
        match op {
            0x80 => {
                let [version] = self.take()?;
                if !(2..=5).contains(&version) {
                    return Err(PthError::UnsupportedProtocol { file: self.place.file.to_owned(), version });
                }
            }
            0x95 => _ = self.take::<8>()?,
            b'N' | b'G' => {
                if op == b'G' {
                    self.take::<8>()?;
                }
                self.push(Value::Other)?;
            }
            0x88 | 0x89 => self.push(Value::Bool)?,
            b'J' => {
                let number = i32::from_le_bytes(self.take()?);
                self.push(Value::Int(number.into()))?;
            }
            b'K' => {
                let [number] = self.take()?;
                self.push(Value::Int(number.into()))?;
            }
            b'M' => {
                let number = u16::from_le_bytes(self.take()?);
                self.push(Value::Int(number.into()))?;
            }
            0x8a => self.long()?,
            b'X' | 0x8c | 0x8d => self.text(op)?,
            b'(' => self.push(Value::Mark)?,
            b')' => self.push(Value::Tuple(Vec::new()))?,
            b']' => self.push(Value::List(Vec::new()))?,
            b'}' => self.push(Value::Dict(Vec::new()))?,
            b'q' | b'r' | b'h' | b'j' | 0x94 => self.memory(op)?,
            b'c' | 0x93 => self.global(op)?,
            b'Q' => self.persistent()?,
            b'R' => self.reduce()?,
            b'b' => self.build()?,
            b't' | 0x85..=0x87 | b'l' | b'd' | b'a' | b'e' | b's' | b'u' => self.container(op)?,
            _ => return Err(PthError::UnsupportedOpcode { file: self.place.file.to_owned(), op, offset: self.op_at }),
        }
        Ok(())
    }

    fn bad(&self, reason: &str) -> PthError {
        self.place.bad_pickle(reason.to_owned(), self.op_at)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], PthError> {
        let bytes = self.program.get(self.at..).and_then(|rest| rest.first_chunk::<N>());
        let bytes = *bytes.ok_or_else(|| self.bad("it ends within an instruction"))?;
        self.at += N;
        Ok(bytes)
    }

    fn take_slice(&mut self, len: u64) -> Result<&'a [u8], PthError> {
        let end = usize::try_from(len).ok().and_then(|len| self.at.checked_add(len));
        let bytes =
            end.and_then(|end| self.program.get(self.at..end)).ok_or_else(|| self.bad("it ends within a text"))?;
        self.at += bytes.len();
        Ok(bytes)
    }

    fn push(&mut self, value: Value) -> Result<(), PthError> {
        self.values += value.size();
        if self.values > VALUES_MAX {
            return Err(self.place.limit("values of the pickle", self.values as u64, VALUES_MAX as u64));
        }
        if value.depth() > DEPTH_MAX {
            return Err(self.place.limit("nesting of the pickle", value.depth() as u64, DEPTH_MAX as u64));
        }
        self.stack.push(value);
        Ok(())
    }

    fn pop(&mut self) -> Result<Value, PthError> {
        match self.stack.pop() {
            Some(Value::Mark) | None => Err(self.bad("nothing is on the stack")),
            Some(value) => Ok(value),
        }
    }

    /// Everything above the last mark.
    fn pop_to_mark(&mut self) -> Result<Vec<Value>, PthError> {
        let mark = self.stack.iter().rposition(|value| matches!(value, Value::Mark));
        let mark = mark.ok_or_else(|| self.bad("no mark is on the stack"))?;
        let items = self.stack.split_off(mark + 1);
        self.stack.pop();
        Ok(items)
    }

    fn pop_text(&mut self) -> Result<String, PthError> {
        match self.pop()? {
            Value::Text(text) => Ok(text),
            _ => Err(self.bad("expected a text")),
        }
    }

    fn long(&mut self) -> Result<(), PthError> {
        let [len] = self.take()?;
        let bytes = self.take_slice(len.into())?;
        if bytes.len() > 8 {
            return Err(self.bad("an integer of more than 64 bits"));
        }
        let is_negative = bytes.last().is_some_and(|last| last & 0x80 != 0);
        let mut wide = [if is_negative { 0xff } else { 0 }; 8];
        wide[..bytes.len()].copy_from_slice(bytes);
        self.push(Value::Int(i64::from_le_bytes(wide)))
    }

    fn text(&mut self, op: u8) -> Result<(), PthError> {
        let len = match op {
            b'X' => u32::from_le_bytes(self.take()?).into(),
            0x8c => self.take::<1>()?[0].into(),
            _ => u64::from_le_bytes(self.take()?),
        };
        let text = std::str::from_utf8(self.take_slice(len)?).map_err(|_| self.bad("a text that is not UTF-8"))?;
        // What a text takes counts as well: a remembered one can be copied at the price of an instruction.
        self.values += text.len() / 64;
        self.push(Value::Text(text.to_owned()))
    }

    fn memory(&mut self, op: u8) -> Result<(), PthError> {
        let index = match op {
            b'q' | b'h' => self.take::<1>()?[0].into(),
            b'r' | b'j' => u32::from_le_bytes(self.take()?).into(),
            _ => self.memo.len() as u64,
        };
        if matches!(op, b'h' | b'j') {
            let value = self.memo.get(&index).cloned().ok_or_else(|| self.bad("nothing was remembered there"))?;
            if let Value::Text(text) = &value {
                self.values += text.len() / 64;
            }
            return self.push(value);
        }
        let value = self.stack.last().filter(|value| !matches!(value, Value::Mark));
        let value = value.ok_or_else(|| self.bad("nothing to remember"))?.clone();
        self.values += value.size();
        self.memo.insert(index, value);
        Ok(())
    }

    fn global(&mut self, op: u8) -> Result<(), PthError> {
        let offset = self.op_at;
        let (module, name) = if op == b'c' {
            (self.line()?, self.line()?)
        } else {
            let name = self.pop_text()?;
            (self.pop_text()?, name)
        };
        match Global::find(&module, &name) {
            Some(global) => self.push(Value::Global(global)),
            None => Err(PthError::ForbiddenGlobal { file: self.place.file.to_owned(), module, name, offset }),
        }
    }

    fn line(&mut self) -> Result<String, PthError> {
        let rest = &self.program[self.at..];
        let len =
            rest.iter().take(256).position(|&byte| byte == b'\n').ok_or_else(|| self.bad("a name without end"))?;
        let line = std::str::from_utf8(&rest[..len]).map_err(|_| self.bad("a name that is not UTF-8"))?.to_owned();
        self.at += len + 1;
        Ok(line)
    }

    /// `("storage", type, key, location, numel)`.
    fn persistent(&mut self) -> Result<(), PthError> {
        let value = self.pop()?;
        let unsupported = |reason: &str| PthError::UnsupportedStorage {
            file: self.place.file.to_owned(),
            reason: reason.into(),
            offset: self.op_at,
        };
        let Value::Tuple(items) = value else { return Err(unsupported("not a tuple")) };
        let [
            Value::Text(kind),
            Value::Global(Global::Storage(dtype)),
            Value::Text(key),
            Value::Text(_),
            Value::Int(numel),
        ] = &items[..]
        else {
            return Err(unsupported("not of the form (\"storage\", type, key, location, numel)"));
        };
        if kind != "storage" {
            return Err(unsupported("not a storage"));
        }
        if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(unsupported("its key is not a number"));
        }
        let numel = u64::try_from(*numel).map_err(|_| unsupported("a negative length"))?;
        self.push(Value::Storage(StorageRef { key: key.clone(), dtype: *dtype, numel }))
    }

    fn reduce(&mut self) -> Result<(), PthError> {
        let Value::Tuple(arguments) = self.pop()? else { return Err(self.bad("arguments are not a tuple")) };
        let result = match (self.pop()?, &arguments[..]) {
            (Value::Global(Global::OrderedDict), []) => Value::Dict(Vec::new()),
            (Value::Global(Global::RebuildParameter), [Value::Tensor(tensor), _, _]) => Value::Tensor(tensor.clone()),
            (Value::Global(Global::RebuildTensor), [storage, offset, shape, stride, _, _, ..])
                if arguments.len() <= 7 =>
            {
                self.tensor([storage, offset, shape, stride])?
            }
            _ => return Err(self.bad("a call that is not one of rebuilding a tensor")),
        };
        self.push(result)
    }

    fn tensor(&self, arguments: [&Value; 4]) -> Result<Value, PthError> {
        let [Value::Storage(storage), Value::Int(offset), Value::Tuple(shape), Value::Tuple(stride)] = arguments else {
            return Err(self.bad("a tensor needs a storage, an offset, a shape and strides"));
        };
        let number = |value: &Value| match value {
            Value::Int(number) => u64::try_from(*number).map_err(|_| self.bad("a negative size")),
            _ => Err(self.bad("a size that is no integer")),
        };
        if shape.len() != stride.len() || shape.len() > 16 {
            return Err(self.bad("a shape and strides of different lengths, or of more than 16"));
        }
        let size = |value| Ok(usize::try_from(number(value)?).unwrap_or(usize::MAX));
        Ok(Value::Tensor(Box::new(TensorRef {
            storage: storage.clone(),
            offset: number(&Value::Int(*offset))?,
            shape: shape.iter().map(size).collect::<Result<_, PthError>>()?,
            stride: stride.iter().map(number).collect::<Result<_, _>>()?,
        })))
    }

    /// Attributes of a dictionary, which are its metadata and not looked at.
    fn build(&mut self) -> Result<(), PthError> {
        self.pop()?;
        match self.stack.last() {
            Some(Value::Dict(_)) => Ok(()),
            _ => Err(self.bad("attributes of what is no dictionary")),
        }
    }

    fn container(&mut self, op: u8) -> Result<(), PthError> {
        match op {
            b't' => {
                let items = self.pop_to_mark()?;
                self.push(Value::Tuple(items))
            }
            0x85..=0x87 => {
                let n = usize::from(op - 0x84);
                let mut items = (0..n).map(|_| self.pop()).collect::<Result<Vec<_>, _>>()?;
                items.reverse();
                self.push(Value::Tuple(items))
            }
            b'l' => {
                let items = self.pop_to_mark()?;
                self.push(Value::List(items))
            }
            b'a' | b'e' => {
                let items = if op == b'a' { vec![self.pop()?] } else { self.pop_to_mark()? };
                match self.stack.last_mut() {
                    Some(Value::List(list)) => list.extend(items),
                    _ => return Err(self.bad("items for what is no list")),
                }
                self.check_depth()
            }
            _ => {
                let items = if op == b's' {
                    let value = self.pop()?;
                    vec![self.pop()?, value]
                } else {
                    self.pop_to_mark()?
                };
                if !items.len().is_multiple_of(2) {
                    return Err(self.bad("a key without value"));
                }
                if op == b'd' {
                    self.push(Value::Dict(Vec::new()))?;
                }
                let bad = self.bad("items for what is no dictionary");
                let Some(Value::Dict(dict)) = self.stack.last_mut() else { return Err(bad) };
                let mut items = items.into_iter();
                while let (Some(key), Some(value)) = (items.next(), items.next()) {
                    dict.push((key, value));
                }
                self.check_depth()
            }
        }
    }

    fn check_depth(&self) -> Result<(), PthError> {
        // Items were counted, and their depth checked, when they were pushed: the container is at most one deeper.
        match self.stack.last().map(Value::depth) {
            Some(depth) if depth > DEPTH_MAX => {
                Err(self.place.limit("nesting of the pickle", depth as u64, DEPTH_MAX as u64))
            }
            _ => Ok(()),
        }
    }
}
