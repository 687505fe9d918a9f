//! The `pickle` module: what goes in comes out, and bytes from a stranger do no harm.

mod support;

use concurrent_futures::pickle::{
    dumps, loads, DispatchTable, Dump, Load, PickleError, Pickler, RemoteError, Unpickler,
};
use concurrent_futures::Exception;
use std::borrow::Cow;
use std::cell::RefCell;
use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet, LinkedList, VecDeque};
use std::convert::{Infallible, TryFrom};
use std::env::{self, VarError};
use std::error::Error as StdError;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{self, ErrorKind, Read};
use std::marker::PhantomData;
use std::net::{AddrParseError, IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::num::*;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::str::Utf8Error;
use std::string::FromUtf8Error;
use std::sync::mpsc::{RecvError, RecvTimeoutError, TryRecvError};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
#[cfg(target_os = "linux")]
use support::process_status;
use support::{child, is_child, watchdog, Random};

/// A stream that gives away little at a time, and counts.
struct Trickle<'a> {
    bytes: &'a [u8],
    most: usize,
}

impl Read for Trickle<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.most.min(buffer.len());
        self.bytes.read(&mut buffer[..length])
    }
}

/// Loads with some bytes at hand, and the others from a stream, on which more than those follow.
fn load_from_stream<T: Load>(bytes: &[u8], at_hand: usize, most: usize) -> Result<T, PickleError> {
    let (now, later) = bytes.split_at(at_hand);
    let mut stream = [later, b"the next message"].concat();
    let mut stream = Trickle {
        bytes: &mut stream,
        most,
    };
    let mut unpickler = Unpickler::from_stream(now, &mut stream, later.len() as u64);
    let value = unpickler.load()?;
    assert_eq!(unpickler.remaining(), 0);
    assert_eq!(stream.bytes, b"the next message");
    Ok(value)
}

/// Dumps, and loads in every way; then with bytes that are missing, and with one too many.
fn there_and_back<T: Dump + Load>(value: &T) -> T {
    let bytes = dumps(value).unwrap();
    let back: T = loads(&bytes).unwrap();
    let step = 1 + bytes.len() / if bytes.len() < 10_000 { 40 } else { 4 };
    for at_hand in (0..=bytes.len()).step_by(step) {
        let again: T = load_from_stream(&bytes, at_hand, 1 + at_hand % 7 * 1000).unwrap();
        assert_eq!(dumps(&again).unwrap().len(), dumps(&back).unwrap().len());
    }
    for length in (0..bytes.len()).step_by(step) {
        assert!(loads::<T>(&bytes[..length]).is_err(), "{length} bytes");
        // A stream that ends before its time.
        let mut stream = &bytes[length / 2..length];
        let to_come = (bytes.len() - length / 2) as u64;
        let mut unpickler = Unpickler::from_stream(&bytes[..length / 2], &mut stream, to_come);
        assert!(unpickler.load::<T>().is_err(), "{length} bytes");
    }
    let more = [&bytes[..], &[0]].concat();
    let error = loads::<T>(&more).err().unwrap();
    assert_eq!(error.to_string(), "1 bytes are left over");
    back
}

fn same<T: Dump + Load + PartialEq + fmt::Debug>(value: T) {
    assert_eq!(there_and_back(&value), value);
    // As a field among others, and in the collections' own ways.
    let bytes = dumps(&(&value, 7_u8, [&value, &value])).unwrap();
    let (first, seven, others): (T, u8, [T; 2]) = loads(&bytes).unwrap();
    assert_eq!((&first, seven), (&value, 7));
    // As a call's last argument that nobody else needs.
    let (head, tail) = dump_and_take(&mut (7_u8, loads::<T>(&dumps(&value).unwrap()).unwrap()));
    let together: (u8, T) = loads(&[head, tail].concat()).unwrap();
    assert_eq!((seven, &value), (together.0, &together.1));
    assert_eq!(others, [first, value]);
}

fn dump_and_take<T: Dump>(value: &mut T) -> (Vec<u8>, Vec<u8>) {
    let mut head = Vec::new();
    let tail = value.dump_and_take(&mut Pickler::new(&mut head)).unwrap();
    (head, tail)
}

fn all_the_same<T: Dump + Load + PartialEq + fmt::Debug + Clone>(values: &[T]) {
    values.iter().cloned().for_each(same);
    same(values.to_vec());
    same(values.iter().cloned().collect::<VecDeque<_>>());
    same(values.iter().cloned().collect::<LinkedList<_>>());
    same(values.iter().cloned().map(Box::new).collect::<Vec<_>>());
    same(Some(values.to_vec()));
}

#[test]
fn numbers() {
    all_the_same(&[u8::MIN, 1, u8::MAX]);
    all_the_same(&[u16::MIN, 1, u16::MAX]);
    all_the_same(&[u32::MIN, 1, u32::MAX]);
    all_the_same(&[u64::MIN, 1, u64::MAX]);
    all_the_same(&[u128::MIN, 1, u128::MAX]);
    all_the_same(&[usize::MIN, 1, usize::MAX]);
    all_the_same(&[i8::MIN, -1, 0, i8::MAX]);
    all_the_same(&[i16::MIN, -1, 0, i16::MAX]);
    all_the_same(&[i32::MIN, -1, 0, i32::MAX]);
    all_the_same(&[i64::MIN, -1, 0, i64::MAX]);
    all_the_same(&[i128::MIN, -1, 0, i128::MAX]);
    all_the_same(&[isize::MIN, -1, 0, isize::MAX]);
    all_the_same(&[f32::MIN, -0.0, f32::MIN_POSITIVE, f32::INFINITY]);
    all_the_same(&[f64::MIN, -0.0, f64::MIN_POSITIVE, f64::NEG_INFINITY]);
    // Bit by bit, a signalling NaN and its payload too.
    for bits in [0x7FF0_0000_0000_0001, 0xFFF8_1234_5678_9ABC_u64] {
        let number = f64::from_bits(bits);
        assert_eq!(there_and_back(&number).to_bits(), bits);
    }
    let bits = [0x7F80_0001, 0xFFC1_2345, 0xFF80_0001_u32];
    let back = there_and_back(&bits.map(f32::from_bits).to_vec());
    assert_eq!(back.into_iter().map(f32::to_bits).collect::<Vec<_>>(), bits);
    assert_eq!(there_and_back(&-0.0_f32).to_bits(), (-0.0_f32).to_bits());
    all_the_same(&[NonZeroU8::new(1), NonZeroU8::new(255), None]);
    same((NonZeroI8::new(-1), NonZeroU16::new(2), NonZeroI16::new(-2)));
    same((NonZeroU32::new(3), NonZeroI32::new(-3), NonZeroU64::new(4)));
    same((
        NonZeroI64::new(-4),
        NonZeroU128::new(5),
        NonZeroI128::new(-5),
    ));
    same((NonZeroUsize::new(6), NonZeroIsize::new(-6)));
    all_the_same(&[Wrapping(u64::MAX), Wrapping(0)]);
    all_the_same(&[Reverse(1), Reverse(2)]);
    all_the_same(&[true, false]);
    all_the_same(&['\0', 'a', '\u{D7FF}', '\u{E000}', char::MAX]);
    all_the_same(&[Ordering::Less, Ordering::Equal, Ordering::Greater]);
}

/// Larger than what is read at once, and of a size that does not divide it.
#[test]
fn large_values() {
    let mut random = Random::new(18);
    for length in [65_537, 100_000] {
        let bytes: Vec<u8> = (0..length).map(|_| random.next() as u8).collect();
        same(
            bytes
                .iter()
                .map(|&byte| u128::from(byte) << 90)
                .collect::<Vec<_>>(),
        );
        same(
            bytes
                .iter()
                .map(|&byte| i16::from(byte) * -100)
                .collect::<VecDeque<_>>(),
        );
        same(bytes.iter().map(|&byte| byte as char).collect::<String>());
        same(bytes.iter().map(|&byte| byte as i8).collect::<Box<[_]>>());
        same(bytes);
    }
    // More than a stream's first allocation.
    let bytes = dumps(&vec![7_u8; 5_000_000]).unwrap();
    let mut stream = &bytes[..];
    let to_come = bytes.len() as u64;
    let mut unpickler = Unpickler::from_stream(&[], &mut stream, to_come);
    let back: Vec<u8> = unpickler.load().unwrap();
    assert!(back.len() == 5_000_000 && back.iter().all(|&byte| byte == 7));
    assert!(back.capacity() < 5_100_000, "{}", back.capacity());
}

/// What can be large and stands at the end is not copied.
#[test]
fn many_bytes_are_taken() {
    fn taken<T: Dump>(mut value: T) -> usize {
        dump_and_take(&mut value).1.len()
    }
    const MANY: usize = 65_536;
    let many = || vec![7_u8; MANY];
    let text = || String::from_utf8(many()).unwrap();
    assert_eq!(taken(many()), MANY);
    assert_eq!(taken(text()), MANY);
    assert_eq!(taken((many(), many())), MANY);
    assert_eq!(taken((1, "spam", text())), MANY);
    assert_eq!(taken(Some(many())), MANY);
    assert_eq!(taken(Ok::<_, ()>((1, many()))), MANY);
    assert_eq!(taken(Err::<(), _>(text())), MANY);
    let mut bytes = many();
    let place = bytes.as_ptr();
    let (head, tail) = dump_and_take(&mut bytes);
    assert_eq!((head, tail.as_ptr()), (dumps(&MANY).unwrap(), place));
    // What is something else, stands elsewhere, or belongs to somebody else.
    assert_eq!(taken(vec![7_u8; MANY - 1]), 0);
    assert_eq!(taken(vec![7_i8; MANY]), 0);
    assert_eq!(taken((many(), 1_u8)), 0);
    let mut bytes = many();
    assert_eq!(taken(&mut bytes), 0);
    assert_eq!(taken((1, &mut bytes)), 0);
    assert_eq!(bytes, many());
}

#[test]
fn texts_and_paths() {
    all_the_same(&[String::new(), "spam".to_owned(), "\u{1F95A}\0\n".to_owned()]);
    all_the_same(&[
        PathBuf::new(),
        PathBuf::from("a/b"),
        PathBuf::from("\u{E4}"),
    ]);
    all_the_same(&[OsString::new(), OsString::from("spam")]);
    same::<Box<str>>("spam".into());
    same::<Rc<str>>("spam".into());
    same::<Arc<str>>("spam".into());
    same::<Box<Path>>(Path::new("a").into());
    same::<Rc<Path>>(Path::new("a").into());
    same::<Arc<Path>>(Path::new("a").into());
    // What is borrowed loads as what is owned.
    assert_eq!(loads::<String>(&dumps("spam").unwrap()).unwrap(), "spam");
    assert_eq!(
        loads::<PathBuf>(&dumps(Path::new("a")).unwrap()).unwrap(),
        Path::new("a")
    );
    assert_eq!(
        loads::<OsString>(&dumps(OsStr::new("a")).unwrap()).unwrap(),
        "a"
    );
    assert_eq!(
        loads::<Vec<u16>>(&dumps(&[1_u16, 2][..]).unwrap()).unwrap(),
        [1, 2]
    );
    for bad in [&b"\xFF"[..], b"a\xC3", b"\xED\xA0\x80", b"\xC0\x80"] {
        assert!(loads::<String>(&dumps(bad).unwrap()).is_err(), "{bad:?}");
    }
}

#[cfg(unix)]
#[test]
fn paths_that_are_no_unicode() {
    use std::os::unix::ffi::OsStringExt;
    for bytes in [&b"\xFF"[..], b"caf\xE9/\xED\xA0\x80", b"\x80"] {
        let text = OsString::from_vec(bytes.to_vec());
        same(text.clone());
        same(PathBuf::from(text.clone()));
        assert_eq!(
            there_and_back(&VarError::NotUnicode(text.clone())),
            VarError::NotUnicode(text)
        );
    }
}

#[cfg(windows)]
#[test]
fn paths_that_are_no_unicode() {
    use std::os::windows::ffi::OsStringExt;
    for units in [&[0xD800][..], &[97, 0xDFFF, 98]] {
        let text = OsString::from_wide(units);
        same(text.clone());
        same(PathBuf::from(text));
    }
}

#[test]
fn collections() {
    same::<Vec<u32>>(vec![]);
    same(vec![vec![1_u8], vec![], vec![2, 3]]);
    same(vec![vec![vec!["a".to_owned()]]]);
    let words = ["spam", "eggs", "", "ham"];
    let pairs = || words.iter().map(|word| (word.to_string(), word.len()));
    same(pairs().collect::<HashMap<_, _>>());
    same(pairs().collect::<BTreeMap<_, _>>());
    same(pairs().collect::<HashSet<_>>());
    same(pairs().collect::<BTreeSet<_>>());
    let heap: BinaryHeap<_> = pairs().collect();
    assert_eq!(
        there_and_back(&heap).into_sorted_vec(),
        heap.into_sorted_vec()
    );
    // In two parts.
    let mut deque: VecDeque<u32> = (0..10).collect();
    deque.rotate_left(3);
    deque.push_front(99);
    same(deque);
    same((Box::new([1, 2]), Rc::new(3), Arc::new("x".to_owned())));
    same::<Box<[u16]>>(Box::new([1, 2]));
    same::<Rc<[String]>>(Rc::from(vec!["x".to_owned()]));
    same::<Arc<[u8]>>(Arc::from(vec![1, 2]));
    same::<Cow<'static, str>>(Cow::Borrowed("x"));
    same::<Cow<'static, [u8]>>(Cow::Owned(vec![1, 2]));
    same([[1_u8; 3]; 4]);
    same([String::new(), "x".to_owned()]);
    same([(0_u8, 'x'); 100]);
    // Of equal keys, the last one's value counts, as in Python.
    let bytes = dumps(&[(1_u8, 'a'), (2, 'b'), (1, 'c')][..]).unwrap();
    let pairs_left = [(1_u8, 'c'), (2, 'b')];
    assert_eq!(loads(&bytes), Ok(HashMap::from(pairs_left)));
    assert_eq!(loads(&bytes), Ok(BTreeMap::from(pairs_left)));
    // A type of hasher that is not the default one.
    type Hasher = std::hash::BuildHasherDefault<std::collections::hash_map::DefaultHasher>;
    same(pairs().collect::<HashMap<_, _, Hasher>>());
    same((0..100).collect::<HashSet<u8, Hasher>>());
}

#[test]
fn elements_that_take_no_bytes() {
    for length in [0, 1, 1000] {
        same(vec![(); length]);
        same(vec![[0_u8; 0]; length]);
        same(vec![PhantomData::<String>; length]);
        same(vec![((), ((), ..)); length]);
        same(vec![(); length].into_iter().collect::<LinkedList<_>>());
        same(vec![vec![(); length]; 3]);
        assert_eq!(dumps(&vec![(); length]).unwrap().len(), 8 + length);
    }
    same([(); 5]);
    same([(); 0]);
    same(HashSet::from([()]));
    // There is no memory for so many zeros.
    assert!(dumps(&[(); usize::MAX][..]).is_err());
    assert!(dumps(&[(); isize::MAX as usize][..]).is_err());
}

#[test]
fn alternatives_and_tuples() {
    all_the_same(&[None, Some(None), Some(Some(1_u8))]);
    all_the_same(&[Ok(1_u8), Err("x".to_owned())]);
    same(());
    same((1_u8,));
    same((1_u8, 2_u16));
    same((1_u8, 2_u16, 3_u32, 4_u64, 5_u128, 'x', true));
    same((1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11));
    same((1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, "twelve".to_owned()));
    same(PhantomData::<fn(str)>);
    same(Ok::<u8, Infallible>(1));
    assert!(loads::<Infallible>(&[]).is_err());
    assert!(loads::<Result<u8, Infallible>>(&[1]).is_err());
    same((0..3, 0.., ..3, ..=3, .., 0..=3));
    let (end, start) = (0, 3);
    same((start..end, start..=end));
    all_the_same(&[Bound::Included(1), Bound::Excluded(2), Bound::Unbounded]);
    // It would come back with one more item.
    let mut used_up = 1..=2;
    assert_eq!(used_up.by_ref().count(), 2);
    assert!(dumps(&used_up).is_err());
}

#[test]
fn times_and_addresses() {
    all_the_same(&[Duration::ZERO, Duration::new(1, 999_999_999), Duration::MAX]);
    all_the_same(&[
        UNIX_EPOCH,
        SystemTime::now(),
        UNIX_EPOCH - Duration::new(86_400, 500),
        UNIX_EPOCH + Duration::from_secs(1 << 33),
    ]);
    // As early, and as late, as this system has it. (In Windows, std cannot go as far in one step.)
    if cfg!(not(windows)) {
        let early = (0..63).rev().fold(UNIX_EPOCH, |time, bit| {
            let less = time.checked_sub(Duration::from_secs(1 << bit));
            less.unwrap_or(time)
        });
        let late = (0..63).rev().fold(UNIX_EPOCH, |time, bit| {
            let more = time.checked_add(Duration::from_secs(1 << bit));
            more.unwrap_or(time)
        });
        all_the_same(&[early, late]);
    }
    let far = dumps(&Ok::<_, Duration>(Duration::MAX)).unwrap();
    assert!(loads::<SystemTime>(&far).is_err());
    assert!(loads::<Duration>(&dumps(&(u64::MAX, 1_000_000_000_u32)).unwrap()).is_err());
    all_the_same(&[
        IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::LOCALHOST),
    ]);
    same((
        Ipv4Addr::new(1, 2, 3, 4),
        Ipv6Addr::new(1, 2, 3, 4, 5, 6, 7, 8),
    ));
    all_the_same(&[
        SocketAddr::from(([1, 2, 3, 4], 80)),
        SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::LOCALHOST, 1, 2, 3)),
    ]);
}

/// The table in the module's documentation.
#[test]
fn the_bytes_are_as_documented() {
    fn check<T: Dump + ?Sized>(value: &T, bytes: &[u8]) {
        assert_eq!(dumps(value).unwrap(), bytes);
    }
    check(&0x0102_u16, &[2, 1]);
    check(&-2_i32, &[254, 255, 255, 255]);
    check(&1.0_f32, &[0, 0, 128, 63]);
    check(&1_usize, &[1, 0, 0, 0, 0, 0, 0, 0]);
    check(&-1_isize, &[255; 8]);
    check(&(true, 'a'), &[1, 97, 0, 0, 0]);
    check(&[1_u8, 2], &[1, 2]);
    check(&vec![7_u8, 8], &[2, 0, 0, 0, 0, 0, 0, 0, 7, 8]);
    check("ab", &[2, 0, 0, 0, 0, 0, 0, 0, 97, 98]);
    check(
        &BTreeMap::from([(1_u8, 2_u8)]),
        &[1, 0, 0, 0, 0, 0, 0, 0, 1, 2],
    );
    check(&vec![(); 3], &[3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    check(&[None, Some(5_u8)], &[0, 1, 5]);
    check(&[Ok(5_u8), Err(6_u16)], &[0, 5, 1, 6, 0]);
    check(&Box::new(Rc::new(Cow::Borrowed(&5_u8))), &[5]);
    check(&(), &[]);
}

#[test]
fn what_is_no_value() {
    assert!(loads::<bool>(&[2]).is_err());
    assert!(loads::<Option<u8>>(&[2, 0]).is_err());
    assert!(loads::<Result<u8, u8>>(&[255, 0]).is_err());
    assert!(loads::<char>(&0xD800_u32.to_le_bytes()).is_err());
    assert!(loads::<char>(&0x11_0000_u32.to_le_bytes()).is_err());
    assert!(loads::<NonZeroU8>(&[0]).is_err());
    assert!(loads::<Ordering>(&[2]).is_err());
    assert!(loads::<ParseIntError>(&[5]).is_err());
    assert!(loads::<FromUtf8Error>(&dumps("fine").unwrap()).is_err());
    assert!(loads::<Exception>(&dumps(&(false, 9999_u16)).unwrap()).is_err());
    // Narrower than a u64, where usize is.
    let narrow = usize::try_from(u64::MAX).is_err();
    assert_eq!(loads::<usize>(&[255; 8]).is_err(), narrow);
    let error = loads::<NonZeroU8>(&[0]).unwrap_err();
    assert!(error.to_string().contains("NonZero"), "{error}");
}

// ---- Types of one's own

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Point<T> {
    x: T,
    name: Option<String>,
}

impl<T: Dump> Dump for Point<T> {
    fn dump(&self, pickler: &mut Pickler<'_>) -> Result<(), PickleError> {
        (&self.x, &self.name).dump(pickler)
    }
}

impl<T: Load> Load for Point<T> {
    fn load(unpickler: &mut Unpickler<'_>) -> Result<Self, PickleError> {
        Load::load(unpickler).map(|(x, name)| Point { x, name })
    }
}

/// Everything that can hold itself.
#[derive(Debug, PartialEq)]
enum Tree {
    Leaf(u8),
    Boxed(Option<Box<Tree>>),
    Vec(Vec<Tree>),
    Map(BTreeMap<String, Tree>),
    Arc(Arc<(Tree, Tree)>),
    Deque(Result<VecDeque<Tree>, [Box<Tree>; 2]>),
}

impl Dump for Tree {
    fn dump(&self, pickler: &mut Pickler<'_>) -> Result<(), PickleError> {
        match self {
            Tree::Leaf(leaf) => (0_u8, leaf).dump(pickler),
            Tree::Boxed(tree) => (1_u8, tree).dump(pickler),
            Tree::Vec(trees) => (2_u8, trees).dump(pickler),
            Tree::Map(trees) => (3_u8, trees).dump(pickler),
            Tree::Arc(trees) => (4_u8, trees).dump(pickler),
            Tree::Deque(trees) => (5_u8, trees).dump(pickler),
        }
    }
}

impl Load for Tree {
    fn load(unpickler: &mut Unpickler<'_>) -> Result<Self, PickleError> {
        match u8::load(unpickler)? {
            0 => Load::load(unpickler).map(Tree::Leaf),
            1 => Load::load(unpickler).map(Tree::Boxed),
            2 => Load::load(unpickler).map(Tree::Vec),
            3 => Load::load(unpickler).map(Tree::Map),
            4 => Load::load(unpickler).map(Tree::Arc),
            5 => Load::load(unpickler).map(Tree::Deque),
            other => Err(PickleError::new(format!("no Tree is {other}"))),
        }
    }
}

fn a_tree() -> Tree {
    let leaf = |leaf| Box::new(Tree::Leaf(leaf));
    let deque = VecDeque::from([Tree::Leaf(1), Tree::Boxed(None)]);
    Tree::Vec(vec![
        Tree::Boxed(Some(leaf(1))),
        Tree::Map(BTreeMap::from([("a".to_owned(), Tree::Vec(vec![]))])),
        Tree::Arc(Arc::new((Tree::Leaf(2), Tree::Deque(Ok(deque))))),
        Tree::Deque(Err([leaf(3), leaf(4)])),
    ])
}

#[test]
fn types_of_ones_own() {
    let name = Some("origin".to_owned());
    let point = Point { x: 1.5, name };
    assert_eq!(there_and_back(&point), point);
    let points = [Point { x: 'x', name: None }, Point { x: 'y', name: None }];
    all_the_same(&points);
    same(points.iter().cloned().collect::<HashSet<_>>());
    same(a_tree());
    assert_eq!(loads::<Tree>(&[9]).unwrap_err().to_string(), "no Tree is 9");
}

// ---- Depth

const MAX_DEPTH: usize = 128;

#[derive(Debug)]
struct Chain(Option<Box<Chain>>);

impl Dump for Chain {
    fn dump(&self, pickler: &mut Pickler<'_>) -> Result<(), PickleError> {
        self.0.dump(pickler)
    }
}

impl Load for Chain {
    fn load(unpickler: &mut Unpickler<'_>) -> Result<Self, PickleError> {
        Load::load(unpickler).map(Chain)
    }
}

impl Chain {
    fn of(length: usize) -> Chain {
        (0..length).fold(Chain(None), |chain, _| Chain(Some(Box::new(chain))))
    }

    /// Not one inside the other.
    fn drop(self) {
        let mut next = self.0;
        while let Some(chain) = next {
            next = chain.0;
        }
    }
}

#[derive(Debug)]
struct Nest(Vec<Nest>);

impl Dump for Nest {
    fn dump(&self, pickler: &mut Pickler<'_>) -> Result<(), PickleError> {
        self.0.dump(pickler)
    }
}

impl Load for Nest {
    fn load(unpickler: &mut Unpickler<'_>) -> Result<Self, PickleError> {
        Load::load(unpickler).map(Nest)
    }
}

/// In as little stack as some threads have.
fn in_a_small_stack(body: impl FnOnce() + Send + 'static) {
    watchdog("a deep value", |_| {
        let thread = thread::Builder::new().stack_size(1 << 20).spawn(body);
        thread.unwrap().join().unwrap();
    });
}

#[test]
fn what_can_be_dumped_can_be_loaded() {
    in_a_small_stack(|| {
        let chain = there_and_back(&Chain::of(MAX_DEPTH));
        assert!(dumps(&chain).is_ok());
        let nest = |depth| (0..depth).fold(Nest(vec![]), |nest, _| Nest(vec![nest]));
        there_and_back(&nest(MAX_DEPTH - 1));
        let trees = (1..MAX_DEPTH).fold(a_tree(), |tree, _| match tree {
            Tree::Vec(_) => Tree::Boxed(None),
            tree => Tree::Map(BTreeMap::from([(String::new(), tree)])),
        });
        there_and_back(&trees);
        for depth in [MAX_DEPTH + 1, 1000] {
            assert!(dumps(&Chain::of(depth)).is_err(), "{depth}");
            assert!(dumps(&nest(depth)).is_err(), "{depth}");
            let bytes = [&vec![1; depth][..], &[0]].concat();
            assert!(loads::<Chain>(&bytes).is_err(), "{depth}");
        }
        let error = dumps(&Chain::of(MAX_DEPTH + 1)).unwrap_err();
        assert!(
            error.to_string().contains("more than 128 pointers"),
            "{error}"
        );
        // A failure, or a sibling, leaves nothing behind.
        let mut bytes = Vec::new();
        let mut pickler = Pickler::new(&mut bytes);
        for _ in 0..1000 {
            pickler.dump(&(Chain::of(100), Chain::of(100))).unwrap();
            pickler.dump(&Chain::of(200)).unwrap_err();
        }
    });
}

#[test]
fn ten_million_inside_each_other() {
    in_a_small_stack(|| {
        let depth = 10_000_000;
        assert!(loads::<Chain>(&vec![1; depth]).is_err());
        let lengths: Vec<u8> = 1_u64.to_le_bytes().repeat(depth);
        assert!(loads::<Nest>(&lengths).is_err());
        for kind in 1..=5_u8 {
            // An entry is a kind, and whatever makes the next one begin inside it.
            let one = 1_u64.to_le_bytes();
            let entry = match kind {
                1 => vec![1, 1],
                2 => [&[2][..], &one].concat(),
                3 => [&[3][..], &one, &[0; 8]].concat(),
                4 => vec![4],
                _ => vec![5, 1],
            };
            assert!(loads::<Tree>(&entry.repeat(depth / 10)).is_err());
        }
        let chain = Chain::of(1_000_000);
        assert!(dumps(&chain).is_err());
        chain.drop();
        // An error that has an error that has an error ...
        let inner = |error| io::Error::new(ErrorKind::Other, error);
        let error = (0..1000).fold(inner(io::Error::from(ErrorKind::NotFound)), |error, _| {
            inner(error)
        });
        assert_eq!(there_and_back(&error).to_string(), "entity not found");
        // And one that a stranger made: kind, text, no code, and inside of it the next.
        let boxed: Box<dyn StdError> = Box::new(error);
        let number = dumps(&boxed).unwrap()[..2].to_vec();
        let one = dumps(&(ErrorKind::Other, "", None::<i32>, true)).unwrap();
        let endless = [number, one].concat().repeat(1_000_000);
        assert!(loads::<Box<dyn StdError>>(&endless).is_err());
    });
}

/// Holds itself.
struct Cycle(RefCell<Option<Rc<Cycle>>>);

impl Dump for Cycle {
    fn dump(&self, pickler: &mut Pickler<'_>) -> Result<(), PickleError> {
        let next = self.0.borrow();
        (&*next, &*next).dump(pickler)
    }
}

#[test]
fn a_cycle_is_an_error() {
    let cycle = Rc::new(Cycle(RefCell::new(None)));
    *cycle.0.borrow_mut() = Some(Rc::clone(&cycle));
    assert!(dumps(&cycle).is_err());
    cycle.0.borrow_mut().take();
}

// ---- Errors

/// The same text, also with `{:?}`.
fn same_error<E: Dump + Load + StdError>(error: E) {
    let back = there_and_back(&error);
    assert_eq!(back.to_string(), error.to_string());
    assert_eq!(format!("{back:?}"), format!("{error:?}"));
}

/// And typed, inside of others that have any type.
fn same_typed<E: Dump + Load + StdError + Send + Sync + 'static>(make: impl Fn() -> E) {
    same_error(make());
    let text = make().to_string();
    let exception = there_and_back(&Exception::new(make()));
    assert_eq!(exception.downcast_ref::<E>().unwrap().to_string(), text);
    assert_eq!(exception.type_name(), Exception::new(make()).type_name());
    let boxed: Box<dyn StdError + Send + Sync> = Box::new(make());
    assert_eq!(
        there_and_back(&boxed)
            .downcast_ref::<E>()
            .unwrap()
            .to_string(),
        text
    );
    let boxed: Box<dyn StdError> = Box::new(make());
    assert_eq!(
        there_and_back(&boxed)
            .downcast_ref::<E>()
            .unwrap()
            .to_string(),
        text
    );
    let error = there_and_back(&io::Error::new(ErrorKind::InvalidData, make()));
    assert_eq!(
        (error.kind(), error.to_string()),
        (ErrorKind::InvalidData, text)
    );
    assert!(error.get_ref().unwrap().is::<E>());
}

#[test]
fn errors_of_std() {
    for text in ["", "-", "1x", "99999999999", "-99999999999"] {
        same_typed(|| text.parse::<i32>().unwrap_err());
    }
    same_typed(|| "0".parse::<NonZeroU64>().unwrap_err());
    assert_eq!(
        there_and_back(&"0".parse::<NonZeroU64>().unwrap_err()).kind(),
        &IntErrorKind::Zero
    );
    for text in ["", "1.x", "."] {
        same_typed(|| text.parse::<f32>().unwrap_err());
    }
    same_typed(|| "yes".parse::<bool>().unwrap_err());
    for text in ["", "ab"] {
        same_typed(|| text.parse::<char>().unwrap_err());
    }
    same_typed(|| i8::try_from(1000_i32).unwrap_err());
    same_typed(|| char::try_from(0x11_0000_u32).unwrap_err());
    same_typed(|| u8::try_from('\u{100}').unwrap_err());
    same_typed(|| <[u8; 4]>::try_from(&[1_u8][..]).unwrap_err());
    let parsers: [fn(&str) -> Option<AddrParseError>; 6] = [
        |text| text.parse::<IpAddr>().err(),
        |text| text.parse::<Ipv4Addr>().err(),
        |text| text.parse::<Ipv6Addr>().err(),
        |text| text.parse::<SocketAddr>().err(),
        |text| text.parse::<std::net::SocketAddrV4>().err(),
        |text| text.parse::<SocketAddrV6>().err(),
    ];
    for parser in parsers {
        same_typed(|| parser("localhost").unwrap());
    }
    same_typed(|| String::from_utf16(&[97, 0xDFFF]).unwrap_err());
    same_typed(|| char::decode_utf16([0xDC07]).next().unwrap().unwrap_err());
    same_typed(|| Path::new("/a/b").strip_prefix("c").unwrap_err());
    same_typed(|| RecvError);
    same_typed(|| TryRecvError::Empty);
    same_typed(|| TryRecvError::Disconnected);
    same_typed(|| RecvTimeoutError::Timeout);
    same_typed(|| RecvTimeoutError::Disconnected);
    same_typed(|| fmt::Error);
    same_typed(|| env::var("A=B").unwrap_err());
    same_typed(|| {
        let later = UNIX_EPOCH + Duration::new(12, 345_000);
        UNIX_EPOCH.duration_since(later).unwrap_err()
    });
    same_typed(|| PickleError::new("no"));
    same_error(
        "x".parse::<String>()
            .map_or_else(|never| match never {}, |_| fmt::Error),
    );
}

#[test]
fn errors_of_utf8() {
    let bad = [
        &b"\xFF"[..],
        b"ab\xC3",
        b"\xE1\x80",
        b"\xE1\x80x",
        b"\xF1\x80\x80-",
        b"abc\xF0",
    ];
    for bytes in bad {
        same_typed(|| String::from_utf8(bytes.to_vec()).unwrap_err());
        same_typed(|| std::str::from_utf8(bytes).unwrap_err());
        let error = std::str::from_utf8(bytes).unwrap_err();
        assert_eq!(there_and_back(&error), error);
        let far = [&[b'x'; 100_000][..], bytes].concat();
        let error: Utf8Error = std::str::from_utf8(&far).unwrap_err();
        assert_eq!(loads(&dumps(&error).unwrap()), Ok(error));
    }
}

#[test]
fn errors_of_io() {
    let check = |error: &io::Error| {
        let back = there_and_back(error);
        assert_eq!(back.kind(), error.kind(), "{error:?}");
        assert_eq!(back.to_string(), error.to_string());
        assert_eq!(back.raw_os_error(), error.raw_os_error());
        back
    };
    for code in (0..140).chain([-1, 5000, i32::MIN, i32::MAX]) {
        let error = io::Error::from_raw_os_error(code);
        check(&error);
        // Kinds that have no name in Rust 1.63 are among them.
        check(&io::Error::from(error.kind()));
        check(&io::Error::new(error.kind(), format!("code {code}")));
    }
    for kind in [
        ErrorKind::InvalidData,
        ErrorKind::UnexpectedEof,
        ErrorKind::Other,
    ] {
        check(&io::Error::from(kind));
        check(&io::Error::new(kind, "text"));
        check(&io::Error::new(kind, String::new()));
    }
    // A text that is not allocated.
    let eof = (&[][..]).read_exact(&mut [0]).unwrap_err();
    assert_eq!(check(&eof).to_string(), "failed to fill whole buffer");
    let utf8 = io::Read::read_to_string(&mut &b"\xFF"[..], &mut String::new()).unwrap_err();
    check(&utf8);
    // What is inside keeps its type if that is known, and its sources.
    let parse = "x".parse::<u8>().unwrap_err();
    let back = check(&io::Error::new(ErrorKind::InvalidInput, parse.clone()));
    let inner = back.get_ref().unwrap().downcast_ref::<ParseIntError>();
    assert_eq!(inner, Some(&parse));
    let back = check(&io::Error::new(ErrorKind::Other, Wrapped(parse)));
    let inner = back.get_ref().unwrap();
    assert!(inner.is::<RemoteError>());
    assert_eq!(
        inner.source().unwrap().to_string(),
        "invalid digit found in string"
    );
    // Another system has another text for it.
    let bytes = dumps(&(ErrorKind::NotFound, "nada", Some(2), None::<String>)).unwrap();
    let back: io::Error = loads(&bytes).unwrap();
    assert_eq!(
        (back.kind(), &*back.to_string()),
        (ErrorKind::NotFound, "nada")
    );
}

/// An error that cannot travel.
#[derive(Debug)]
struct Wrapped(ParseIntError);

impl fmt::Display for Wrapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("wrapped")
    }
}

impl StdError for Wrapped {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.0)
    }
}

/// An error of one's own that can.
#[derive(Debug, PartialEq)]
struct OutOfStock {
    item: String,
}

impl fmt::Display for OutOfStock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no more {}", self.item)
    }
}

impl StdError for OutOfStock {}

impl Dump for OutOfStock {
    fn dump(&self, pickler: &mut Pickler<'_>) -> Result<(), PickleError> {
        match &*self.item {
            "" => Err(PickleError::new("nothing")),
            _ => self.item.dump(pickler),
        }
    }
}

impl Load for OutOfStock {
    fn load(unpickler: &mut Unpickler<'_>) -> Result<Self, PickleError> {
        Load::load(unpickler).map(|item| OutOfStock { item })
    }
}

#[test]
fn exceptions() {
    let exception = there_and_back(&Exception::msg("just a text"));
    assert_eq!(exception.to_string(), "just a text");
    assert_eq!(exception.type_name(), "Exception");
    assert_eq!(
        format!("{exception:?}"),
        format!("{:?}", Exception::msg("just a text"))
    );

    // One whose type is not known.
    let parse = "x".parse::<u8>().unwrap_err();
    let exception = there_and_back(&Exception::new(Wrapped(parse.clone())));
    let remote = exception.downcast_ref::<RemoteError>().unwrap();
    assert_eq!(
        (remote.type_name(), &*remote.to_string()),
        ("Wrapped", "wrapped")
    );
    assert_eq!((remote.location(), exception.is_panic()), (None, false));
    assert_eq!(remote.source().unwrap().to_string(), parse.to_string());
    assert!(remote.source().unwrap().source().is_none());
    // It can go on to a third process.
    let further = there_and_back(&exception);
    assert_eq!(further.downcast_ref::<RemoteError>(), Some(remote));

    let boxed: Box<dyn StdError + Send + Sync> = "boxed".into();
    let exception = there_and_back(&Exception::from_boxed(boxed));
    let remote = exception.downcast_ref::<RemoteError>().unwrap();
    assert_eq!(
        (remote.type_name(), &*remote.to_string()),
        ("Error", "boxed")
    );
}

/// A box with an exception in it comes back as one.
#[test]
fn exceptions_in_boxes() {
    let parse = || Exception::from("x".parse::<u8>().unwrap_err());
    let boxed: Box<dyn StdError + Send + Sync> = parse().into();
    let back = Exception::from_boxed(there_and_back(&boxed));
    assert_eq!(back.type_name(), "ParseIntError");
    let boxed: Box<dyn StdError + Send + Sync> = Exception::from_panic(Box::new("boom")).into();
    let back = Exception::from_boxed(there_and_back(&boxed));
    assert_eq!(
        (back.is_panic(), back.panic_message()),
        (true, Some("boom"))
    );
    let error = there_and_back(&io::Error::new(ErrorKind::Other, parse()));
    assert_eq!(error.to_string(), parse().to_string());
    let inner = Exception::from_boxed(error.into_inner().unwrap());
    assert_eq!(inner.type_name(), "ParseIntError");
}

/// The error whose source is itself.
#[derive(Debug)]
struct Endless;

impl fmt::Display for Endless {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("endless")
    }
}

impl StdError for Endless {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&Endless)
    }
}

#[test]
fn a_chain_of_sources_has_an_end() {
    let exception = there_and_back(&Exception::new(Endless));
    let sources = std::iter::successors(exception.as_error().unwrap().source(), |&e| e.source());
    assert_eq!(sources.count(), 32);
    // And a stranger's has, too.
    let chain = vec![String::new(); 100_000];
    let bytes = dumps(&(false, 0_u16, "", "", None::<String>, chain)).unwrap();
    assert!(loads::<Exception>(&bytes).is_err());
}

#[test]
fn exceptions_of_types_in_a_table() {
    let mut table = DispatchTable::new();
    table.register::<Infallible>().register::<OutOfStock>();
    assert!(format!("{table:?}").contains("OutOfStock"));
    let send = |exception: &Exception| -> Exception {
        let mut bytes = Vec::new();
        let mut pickler = Pickler::new(&mut bytes).dispatch_table(&table);
        pickler.dump(&(exception, 7_u8)).unwrap();
        let mut unpickler = Unpickler::new(&bytes).dispatch_table(&table);
        let (back, seven): (_, u8) = unpickler.load().unwrap();
        assert_eq!((seven, unpickler.remaining()), (7, 0));
        back
    };
    let out_of = |item: &str| {
        Exception::new(OutOfStock {
            item: item.to_owned(),
        })
    };
    let back = send(&out_of("spam"));
    assert_eq!(back.downcast_ref::<OutOfStock>().unwrap().item, "spam");
    assert_eq!(back.type_name(), "OutOfStock");
    // One that cannot be dumped is still told of.
    let back = send(&out_of(""));
    let remote = back.downcast_ref::<RemoteError>().unwrap();
    assert_eq!(
        (remote.type_name(), &*remote.to_string()),
        ("OutOfStock", "there is no more ")
    );
    // Inside another error.
    let error = OutOfStock {
        item: "eggs".to_owned(),
    };
    let back = send(&Exception::new(io::Error::new(ErrorKind::Other, error)));
    let inner = back.downcast_ref::<io::Error>().unwrap().get_ref().unwrap();
    assert!(inner.is::<OutOfStock>());
    // Whoever has no table cannot know.
    let mut bytes = Vec::new();
    let mut pickler = Pickler::new(&mut bytes).dispatch_table(&table);
    pickler.dump(&out_of("spam")).unwrap();
    assert!(loads::<Exception>(&bytes).is_err());
    // And std's types are what they were.
    let back = send(&Exception::new(fmt::Error));
    assert_eq!(back.downcast_ref::<fmt::Error>(), Some(&fmt::Error));
    // What is behind the last number is a text, and so is what is in no table.
    let mut long = DispatchTable::new();
    for _ in 0..70_000 {
        long.register::<Infallible>();
    }
    long.register::<OutOfStock>();
    let mut bytes = Vec::new();
    let mut pickler = Pickler::new(&mut bytes).dispatch_table(&long);
    pickler.dump(&out_of("spam")).unwrap();
    let back: Exception = Unpickler::new(&bytes).dispatch_table(&long).load().unwrap();
    assert_eq!(back.to_string(), "there is no more spam");
    // Without a table, this is text.
    let back = there_and_back(&out_of("spam"));
    assert_eq!(
        back.downcast_ref::<RemoteError>().unwrap().type_name(),
        "OutOfStock"
    );
    // Where the type of the error is known to both sides, no table is needed.
    let outcome: Result<u8, OutOfStock> = Err(OutOfStock {
        item: "ham".to_owned(),
    });
    assert_eq!(there_and_back(&outcome), outcome);
}

#[test]
fn panics() {
    let caught = std::panic::catch_unwind(|| std::panic::resume_unwind(Box::new("boom")));
    let exception = there_and_back(&Exception::from_panic(caught.unwrap_err()));
    assert!(exception.is_panic());
    assert_eq!(exception.panic_message(), Some("boom"));
    assert_eq!(
        (&*exception.to_string(), &*exception.type_name()),
        ("boom", "panic")
    );
    let payload = exception.take_panic().unwrap();
    assert_eq!(payload.downcast_ref::<String>().unwrap(), "boom");
    assert_eq!(exception.panic_message(), Some("boom"));

    let exception = there_and_back(&Exception::from_panic(Box::new(7)));
    assert!(exception.is_panic());
    assert_eq!(exception.panic_message(), None);
    let text = Exception::from_panic(Box::new(7)).to_string();
    assert_eq!(exception.to_string(), text);
    assert_eq!(
        exception.downcast_ref::<RemoteError>().unwrap().to_string(),
        text
    );

    // With the place where it happened, also on its second way.
    let bytes = dumps(&(true, Some("boom"), Some("src/main.rs:12:5"))).unwrap();
    let exception = there_and_back(&loads::<Exception>(&bytes).unwrap());
    assert_eq!(exception.panic_message(), Some("boom"));
    let remote = exception.downcast_ref::<RemoteError>().unwrap();
    assert_eq!(remote.location(), Some("src/main.rs:12:5"));
    assert_eq!(
        (remote.type_name(), &*remote.to_string()),
        ("panic", "boom")
    );
}

// ---- Bytes from a stranger

/// A type, by what can be done with bytes that claim to be one.
#[derive(Clone)]
struct Claim {
    name: &'static str,
    bytes: Vec<u8>,
    load: fn(&[u8]) -> bool,
    load_from_stream: fn(&[u8], usize, u64) -> bool,
}

impl Claim {
    fn of<T: Dump + Load>(value: T) -> Claim {
        let claim = Claim {
            name: std::any::type_name::<T>(),
            bytes: dumps(&value).unwrap(),
            load: |bytes| match loads::<T>(bytes) {
                Ok(value) => {
                    // It is a value like any other.
                    let again = dumps(&value).unwrap();
                    assert!(loads::<T>(&again).is_ok());
                    true
                }
                Err(error) => {
                    assert!(!error.to_string().is_empty());
                    false
                }
            },
            load_from_stream: |bytes, at_hand, lie| {
                let (now, mut later) = bytes.split_at(at_hand);
                let to_come = lie.saturating_add(later.len() as u64);
                Unpickler::from_stream(now, &mut later, to_come)
                    .load::<T>()
                    .is_ok()
            },
        };
        assert!((claim.load)(&claim.bytes), "{}", claim.name);
        claim
    }
}

fn claims() -> Vec<Claim> {
    let text = || "some text".to_owned();
    let error = || "x".parse::<u8>().unwrap_err();
    let mut claims = vec![
        Claim::of((1_u8, -2_i64, 3_u128, 4_usize, 1.5_f64, true, 'x')),
        Claim::of(text()),
        Claim::of(vec![1_u8, 2, 3]),
        Claim::of(vec![1_u64, 2, 3]),
        Claim::of(vec![text(), String::new(), text()]),
        Claim::of(vec![vec![1_u32], vec![], vec![2, 3]]),
        Claim::of(vec![(); 9]),
        Claim::of(vec![[0_u64; 0]; 3]),
        Claim::of(vec![Some([7_u8; 3]), None]),
        Claim::of(VecDeque::from([1_i16, 2])),
        Claim::of(LinkedList::from([Ok(1_u8), Err(text())])),
        Claim::of(BinaryHeap::from([3_u8, 1, 2])),
        Claim::of(HashMap::from([
            (text(), vec![1_u8]),
            (String::new(), vec![]),
        ])),
        Claim::of(HashSet::from([1_u16, 2, 3])),
        Claim::of(BTreeMap::from([(1_u8, BTreeSet::from([text()]))])),
        Claim::of([Box::new(1_u8), Box::new(2)]),
        Claim::of((
            Rc::<str>::from("x"),
            Arc::<[u16]>::from(vec![1]),
            Cow::Borrowed("y"),
        )),
        Claim::of((Duration::MAX, UNIX_EPOCH, 1..=3, Bound::Included(1_u8))),
        Claim::of((PathBuf::from("a/b"), OsString::from("c"), Ordering::Less)),
        Claim::of([
            SocketAddr::from(([1, 2, 3, 4], 80)),
            SocketAddr::from(([0; 16], 80)),
        ]),
        Claim::of((
            NonZeroU32::new(1),
            NonZeroI64::new(-1).unwrap(),
            Wrapping(1_u8),
        )),
        Claim::of(a_tree()),
        Claim::of(Chain::of(20)),
        Claim::of(Nest(vec![Nest(vec![]), Nest(vec![Nest(vec![])])])),
        Claim::of(Point {
            x: text(),
            name: Some(text()),
        }),
        Claim::of(error()),
        Claim::of(String::from_utf8(b"ab\xFFc".to_vec()).unwrap_err()),
        Claim::of(
            String::from_utf8(vec![b'a', 0xF1, 0x80])
                .unwrap_err()
                .utf8_error(),
        ),
        Claim::of(
            UNIX_EPOCH
                .duration_since(UNIX_EPOCH + Duration::from_secs(1))
                .unwrap_err(),
        ),
        Claim::of(VarError::NotUnicode(text().into())),
        Claim::of(io::Error::from_raw_os_error(2)),
        Claim::of(io::Error::new(ErrorKind::InvalidData, error())),
        Claim::of(Exception::new(io::Error::new(ErrorKind::Other, text()))),
        Claim::of(Exception::new(Wrapped(error()))),
        Claim::of(Exception::msg(text())),
        Claim::of(Exception::from_panic(Box::new(text()))),
        Claim::of(Err::<u8, Box<dyn StdError>>(Box::new(error()))),
    ];
    // Claims that are made of bytes which are no bytes of that type at all.
    for index in 0..claims.len() {
        let mut mixed = claims[index].clone();
        mixed.bytes = claims[(index + 1) % claims.len()].bytes.clone();
        claims.push(mixed);
    }
    claims
}

/// Lengths that hurt.
const LENGTHS: [u64; 10] = [
    u64::MAX,
    u64::MAX - 7,
    i64::MAX as u64,
    i64::MAX as u64 + 1,
    1 << 61,
    1 << 40,
    1 << 33,
    u32::MAX as u64,
    1 << 26,
    0,
];

fn mutate(random: &mut Random, bytes: &mut Vec<u8>) {
    let at = random.below(bytes.len() + 1);
    match random.below(8) {
        0 | 1 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
        2 if at < bytes.len() => bytes[at] = [0, 1, 2, 127, 128, 255][random.below(6)],
        3 => bytes.truncate(at),
        4 => bytes.insert(at, random.next() as u8),
        5 => {
            let end = (at + 1 + random.below(9)).min(bytes.len());
            bytes.drain(at..end);
        }
        6 => {
            let length = match random.below(2) {
                0 => LENGTHS[random.below(LENGTHS.len())],
                _ => random.below(2 * bytes.len() + 2) as u64,
            };
            for (byte, new) in bytes[at..].iter_mut().zip(length.to_le_bytes()) {
                *byte = new;
            }
        }
        _ => {
            let end = (at + random.below(20)).min(bytes.len());
            let part = bytes[at..end].to_vec();
            let to = random.below(bytes.len() + 1);
            bytes.splice(to..to, part);
        }
    }
}

/// Runs the rest of the test in a process that has so little memory that it aborts when it asks for
/// as much as a length says.
fn with_little_memory(test: &'static str, body: fn()) {
    if is_child(test) {
        return body();
    }
    // Windows has no such limit.
    let limits = if cfg!(unix) { "ulimit -v 400000" } else { "" };
    let ended = child(test, test, limits);
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.stdout, ended.stderr);
    print!("{}", ended.stdout);
}

#[test]
fn a_million_mutated_pickles() {
    with_little_memory("a_million_mutated_pickles", || {
        let seed = env::var("PICKLE_SEED").ok();
        let seed = seed.map_or_else(
            || {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
                now.as_nanos() as u64 % 1_000_000_000_000
            },
            |text| text.parse().expect("PICKLE_SEED"),
        );
        println!("PICKLE_SEED={seed}");
        let mut random = Random::new(seed);
        let claims = claims();
        let (mut count, mut loaded) = (0, 0);
        let mut bytes = Vec::new();
        while count < 1_100_000 {
            let claim = &claims[random.below(claims.len())];
            bytes.clear();
            bytes.extend_from_slice(&claim.bytes);
            // The mutations add up.
            for _ in 0..1 + random.below(6) {
                mutate(&mut random, &mut bytes);
                count += 1;
                loaded += usize::from((claim.load)(&bytes));
                if random.once_in(8) {
                    let at_hand = random.below(bytes.len() + 1);
                    let lie = LENGTHS[random.below(LENGTHS.len())];
                    count += 1;
                    loaded += usize::from((claim.load_from_stream)(&bytes, at_hand, lie));
                }
            }
        }
        println!("{count} pickles, {loaded} of which are values");
        assert!(loaded > count / 100 && loaded < count / 2);
    });
}

/// In place of every eight bytes of every pickle, and before a stream of any length.
#[test]
fn lengths_that_hurt() {
    with_little_memory("lengths_that_hurt", || {
        for claim in claims() {
            for length in LENGTHS {
                for at in 0..claim.bytes.len().saturating_sub(7) {
                    let mut bytes = claim.bytes.clone();
                    bytes[at..at + 8].copy_from_slice(&length.to_le_bytes());
                    (claim.load)(&bytes);
                    for lie in LENGTHS {
                        (claim.load_from_stream)(&bytes, at, lie);
                    }
                }
                let only: Vec<u8> = length.to_le_bytes().repeat(3);
                (claim.load)(&only);
                (claim.load_from_stream)(&only, 0, u64::MAX);
            }
        }
    });
}

/// Nothing is read of a stream for a length that cannot be.
#[test]
fn a_length_is_checked_before_anything_is_read() {
    let bytes = [&25_000_u64.to_le_bytes()[..], &[1; 100_000]].concat();
    let left = |load: fn(&mut Unpickler<'_>) -> bool| {
        let mut stream = &bytes[..];
        let mut unpickler = Unpickler::from_stream(&[], &mut stream, bytes.len() as u64);
        assert!(load(&mut unpickler));
        unpickler.remaining()
    };
    let refused = left(|unpickler| unpickler.load::<Vec<u64>>().is_err());
    assert_eq!(refused, 100_000);
    assert_eq!(left(|unpickler| unpickler.load::<Vec<u32>>().is_ok()), 0);
    let refused = left(|unpickler| unpickler.load::<[u8; 100_009]>().is_err());
    assert_eq!(refused, 100_008);
    // Eight ones are a length beyond all memory.
    for load in [
        |unpickler: &mut Unpickler<'_>| unpickler.load::<Vec<u8>>().is_err(),
        |unpickler: &mut Unpickler<'_>| unpickler.load::<Vec<Option<u8>>>().is_err(),
        |unpickler: &mut Unpickler<'_>| unpickler.load::<HashSet<u8>>().is_err(),
    ] {
        let mut stream = &bytes[10..];
        let to_come = stream.len() as u64;
        let mut unpickler = Unpickler::from_stream(&[], &mut stream, to_come);
        assert!(load(&mut unpickler));
        assert_eq!(unpickler.remaining(), to_come - 8);
    }
}

/// As long as memory, and each element in no bytes at all: neither a loop of as many rounds, nor the
/// memory.
#[test]
fn nothing_times_the_greatest_length() {
    with_little_memory("nothing_times_the_greatest_length", || {
        for length in LENGTHS.into_iter().filter(|&length| length > 0) {
            let bytes = length.to_le_bytes();
            assert!(loads::<Vec<()>>(&bytes).is_err());
            assert!(loads::<LinkedList<()>>(&bytes).is_err());
            assert!(loads::<HashSet<()>>(&bytes).is_err());
            assert!(loads::<BTreeMap<(), ()>>(&bytes).is_err());
            assert!(loads::<Box<[PhantomData<u8>]>>(&bytes).is_err());
            assert!(loads::<Arc<[[u64; 0]]>>(&bytes).is_err());
            assert!(loads::<Vec<((), ((), Wrapping<()>))>>(&bytes).is_err());
            assert!(loads::<Vec<Vec<()>>>(&bytes.repeat(9)).is_err());
        }
        // Nor when they are dumped.
        assert!(dumps(&[(); usize::MAX]).is_err());
        assert!(dumps(&vec![[(); usize::MAX]]).is_err());
        // A large element for each byte: as much memory as there are elements.
        let nones = dumps(&vec![0_u8; 1000]).unwrap();
        let loaded: Vec<Option<[u64; 100]>> = loads(&nones).unwrap();
        assert_eq!(loaded.len(), 1000);
        let claimed = [&(1_u64 << 20).to_le_bytes()[..], &vec![1; 1 << 20]].concat();
        assert!(loads::<Vec<[u64; 2000]>>(&claimed).is_err());
    });
}

/// Whoever does not know how many bytes will come says so, and gets the same values, whatever is at hand.
#[test]
fn a_stream_without_an_end() {
    let value = (vec![Some(1_u8), None, Some(3)], vec![(); 3], 7_u16);
    let bytes = dumps(&value).unwrap();
    for at_hand in 0..=bytes.len() {
        for to_come in [u64::MAX, u64::MAX - 3] {
            let (now, mut later) = bytes.split_at(at_hand);
            let mut unpickler = Unpickler::from_stream(now, &mut later, to_come);
            assert_eq!(unpickler.load(), Ok(value.clone()), "{at_hand}");
        }
    }
}

/// Memory for what is there, not for what is said to come: seen from outside, since so much is not
/// refused.
#[cfg(target_os = "linux")]
#[test]
fn a_stream_that_lies_gets_no_memory() {
    with_little_memory("a_stream_that_lies_gets_no_memory", || {
        let length: usize = 1 << 27;
        let bytes = [&length.to_le_bytes()[..], &[97; 100_000]].concat();
        let load = |load: fn(&mut Unpickler<'_>) -> bool| {
            let mut stream = &bytes[..];
            load(&mut Unpickler::from_stream(&[], &mut stream, 1 << 40))
        };
        let before = process_status("VmPeak");
        assert!(load(|unpickler| unpickler.load::<Vec<u8>>().is_err()));
        assert!(load(|unpickler| unpickler.load::<String>().is_err()));
        assert!(load(|unpickler| unpickler.load::<Vec<u64>>().is_err()));
        assert!(load(|unpickler| unpickler
            .load::<Vec<Option<u8>>>()
            .is_err()));
        assert!(load(|unpickler| unpickler.load::<HashSet<u8>>().is_err()));
        let more = process_status("VmPeak") - before;
        assert!(more < 20_000, "{more} kB more");
    });
}

/// The limit is there, and what it is for would be seen.
#[test]
#[cfg(unix)]
fn the_limit_on_memory_works() {
    const TEST: &str = "the_limit_on_memory_works";
    if is_child(TEST) {
        println!("{}", Vec::<u8>::with_capacity(1 << 33).capacity());
        return;
    }
    let ended = child(TEST, TEST, "ulimit -v 400000");
    assert_ne!(ended.code, Some(0), "{}", ended.stdout);
}
