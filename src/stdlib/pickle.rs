//! STAND-IN until the real one is there.
use super::exceptions::Exception;
use std::error::Error as StdError;
use std::fmt;

pub struct Pickler<'a>(&'a mut Vec<u8>);
impl<'a> Pickler<'a> {
    pub fn new(bytes: &'a mut Vec<u8>) -> Self {
        Pickler(bytes)
    }
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
}
pub struct Unpickler<'a>(&'a [u8]);
impl<'a> Unpickler<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Unpickler(bytes)
    }
    pub fn take(&mut self, n: usize) -> Result<&'a [u8], PickleError> {
        if n > self.0.len() {
            return Err(PickleError("truncated".into()));
        }
        let (a, b) = self.0.split_at(n);
        self.0 = b;
        Ok(a)
    }
}
#[derive(Debug, Clone)]
pub struct PickleError(String);
impl fmt::Display for PickleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}
impl StdError for PickleError {}
pub trait Dump {
    fn dump(&self, pickler: &mut Pickler<'_>) -> Result<(), PickleError>;
}
pub trait Load: Sized {
    fn load(unpickler: &mut Unpickler<'_>) -> Result<Self, PickleError>;
}
impl Dump for u64 {
    fn dump(&self, p: &mut Pickler<'_>) -> Result<(), PickleError> {
        p.bytes(&self.to_le_bytes());
        Ok(())
    }
}
impl Load for u64 {
    fn load(u: &mut Unpickler<'_>) -> Result<Self, PickleError> {
        let mut b = [0; 8];
        b.copy_from_slice(u.take(8)?);
        Ok(u64::from_le_bytes(b))
    }
}
impl Dump for i32 {
    fn dump(&self, p: &mut Pickler<'_>) -> Result<(), PickleError> {
        (*self as u64).dump(p)
    }
}
impl Load for i32 {
    fn load(u: &mut Unpickler<'_>) -> Result<Self, PickleError> {
        Ok(u64::load(u)? as i32)
    }
}
impl Dump for u32 {
    fn dump(&self, p: &mut Pickler<'_>) -> Result<(), PickleError> {
        (*self as u64).dump(p)
    }
}
impl Load for u32 {
    fn load(u: &mut Unpickler<'_>) -> Result<Self, PickleError> {
        Ok(u64::load(u)? as u32)
    }
}
impl Load for u8 {
    fn load(u: &mut Unpickler<'_>) -> Result<Self, PickleError> {
        Ok(u.take(1)?[0])
    }
}
impl Dump for bool {
    fn dump(&self, p: &mut Pickler<'_>) -> Result<(), PickleError> {
        (*self as u64).dump(p)
    }
}
impl Load for bool {
    fn load(u: &mut Unpickler<'_>) -> Result<Self, PickleError> {
        Ok(u64::load(u)? != 0)
    }
}
impl Dump for () {
    fn dump(&self, _: &mut Pickler<'_>) -> Result<(), PickleError> {
        Ok(())
    }
}
impl Load for () {
    fn load(_: &mut Unpickler<'_>) -> Result<Self, PickleError> {
        Ok(())
    }
}
impl Dump for Vec<u8> {
    fn dump(&self, p: &mut Pickler<'_>) -> Result<(), PickleError> {
        (self.len() as u64).dump(p)?;
        p.bytes(self);
        Ok(())
    }
}
impl Load for Vec<u8> {
    fn load(u: &mut Unpickler<'_>) -> Result<Self, PickleError> {
        let n = u64::load(u)?;
        Ok(u.take(n as usize)?.to_vec())
    }
}
impl Dump for String {
    fn dump(&self, p: &mut Pickler<'_>) -> Result<(), PickleError> {
        self.as_bytes().to_vec().dump(p)
    }
}
impl Load for String {
    fn load(u: &mut Unpickler<'_>) -> Result<Self, PickleError> {
        String::from_utf8(Vec::load(u)?).map_err(|e| PickleError(e.to_string()))
    }
}
impl<A: Dump, B: Dump> Dump for (A, B) {
    fn dump(&self, p: &mut Pickler<'_>) -> Result<(), PickleError> {
        self.0.dump(p)?;
        self.1.dump(p)
    }
}
impl<A: Load, B: Load> Load for (A, B) {
    fn load(u: &mut Unpickler<'_>) -> Result<Self, PickleError> {
        Ok((A::load(u)?, B::load(u)?))
    }
}
impl<A: Dump, B: Dump> Dump for Result<A, B> {
    fn dump(&self, p: &mut Pickler<'_>) -> Result<(), PickleError> {
        match self {
            Ok(a) => {
                p.bytes(&[0]);
                a.dump(p)
            }
            Err(a) => {
                p.bytes(&[1]);
                a.dump(p)
            }
        }
    }
}
impl<A: Load, B: Load> Load for Result<A, B> {
    fn load(u: &mut Unpickler<'_>) -> Result<Self, PickleError> {
        Ok(match u.take(1)? {
            [0] => Ok(A::load(u)?),
            _ => Err(B::load(u)?),
        })
    }
}
impl Dump for Exception {
    fn dump(&self, p: &mut Pickler<'_>) -> Result<(), PickleError> {
        self.is_panic().dump(p)?;
        self.type_name().dump(p)?;
        self.to_string().dump(p)
    }
}
impl Load for Exception {
    fn load(u: &mut Unpickler<'_>) -> Result<Self, PickleError> {
        let is_panic = bool::load(u)?;
        let (name, text) = <(String, String)>::load(u)?;
        if is_panic {
            return Ok(Exception::from_panic(Box::new(text)));
        }
        Ok(Exception::new(RemoteError(name, text)))
    }
}
#[derive(Debug, Clone)]
pub struct RemoteError(String, String);
impl RemoteError {
    pub(in super::super) fn panicked(m: Option<String>, _: Option<String>) -> Exception {
        Exception::from_panic(Box::new(m.unwrap_or_default()))
    }
}
#[derive(Default)]
pub struct DispatchTable;
impl DispatchTable {
    pub fn register<E>(&mut self) {}
}
impl<'a> Pickler<'a> {
    pub fn dispatch_table(self, _: &'a DispatchTable) -> Self {
        self
    }
}
impl<'a> Unpickler<'a> {
    pub fn dispatch_table(self, _: &'a DispatchTable) -> Self {
        self
    }
    pub fn remaining(&self) -> u64 {
        self.0.len() as u64
    }
}
impl PickleError {
    pub fn new(s: impl Into<String>) -> Self {
        PickleError(s.into())
    }
}
impl Dump for u8 {
    fn dump(&self, p: &mut Pickler<'_>) -> Result<(), PickleError> {
        p.bytes(&[*self]);
        Ok(())
    }
}
impl Dump for usize {
    fn dump(&self, p: &mut Pickler<'_>) -> Result<(), PickleError> {
        (*self as u64).dump(p)
    }
}
impl Load for usize {
    fn load(u: &mut Unpickler<'_>) -> Result<Self, PickleError> {
        Ok(u64::load(u)? as usize)
    }
}
impl<A: Dump, B: Dump, C: Dump> Dump for (A, B, C) {
    fn dump(&self, p: &mut Pickler<'_>) -> Result<(), PickleError> {
        self.0.dump(p)?;
        self.1.dump(p)?;
        self.2.dump(p)
    }
}

impl fmt::Display for RemoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.1)
    }
}
impl StdError for RemoteError {}
