//! What cannot be seen through the crate's public names: the accounts that a condition keeps of its sleepers. The sources are compiled
//! into this test, as `tests/schedules/small/parts.rs` does under the model.

#[path = "../src/stdlib/mod.rs"]
#[allow(dead_code, unused_imports)]
mod stdlib;
mod support;

use std::time::Duration;
use stdlib::threading::{Condition, Deadline};

/// A sleeper whose time is over is a sleeper no more. Otherwise each time-out would leave one behind for ever, and every
/// later notification would enter the kernel for it.
#[test]
fn a_time_out_is_taken_off_the_sleepers() {
    let condition = Condition::new(0);
    for _ in 0..3 {
        let deadline = Deadline::after(Some(Duration::from_millis(1)));
        let acquired = condition.wait_for(|value| *value == 1, deadline);
        assert_eq!(acquired.sleepers(), 0);
    }
}

/// What a worker sends is cut into messages, and these are loaded: whatever the bytes are, each stream ends
/// with a value or an error, without a panic, and memory is taken for what has come. `HOSTILE_STREAMS` says
/// how many streams there are to be.
#[cfg(target_os = "linux")]
mod hostile {
    use crate::stdlib::exceptions::Exception;
    use crate::stdlib::multiprocessing::connection::{Connection, Message, Receiver};
    use crate::stdlib::pickle::{Dump, Load, PickleError, Pickler, Unpickler};
    use crate::support::{child, is_child, process_status, Random};
    use std::collections::BTreeMap;
    use std::env;
    use std::io::Write;
    use std::net::Shutdown;
    use std::os::unix::net::UnixStream;

    type Chunk = Vec<Result<u64, String>>;

    fn message<T: Dump>(mut value: T) -> Message {
        Message::new(|bytes| value.dump_and_take(&mut Pickler::new(bytes))).unwrap()
    }

    /// Streams of a worker as they should be: a greeting, and some replies.
    fn streams() -> Vec<Vec<u8>> {
        let parse = "x".parse::<u8>().unwrap_err();
        let exception = Exception::new(parse);
        let numbers: BTreeMap<String, u16> = (0..40_u16).map(|n| (n.to_string(), n)).collect();
        let chunk: Chunk = (0..30).map(|n| Err::<u64, _>(n.to_string())).collect();
        let all = [
            vec![
                message(1_u64),
                message((1_u8, 5_u64)),
                message((2_u8, &exception)),
            ],
            vec![
                message(1_u64),
                message((1_u8, vec![7_u8; 20_000])),
                message(3_u8),
            ],
            vec![
                message(1_u64),
                message((1_u8, vec![1_i32; 3_000])),
                message((1_u8, &chunk)),
            ],
            vec![
                message((1_u8, &numbers)),
                message((2_u8, Exception::msg("oh no"))),
            ],
        ];
        let sent = |messages: Vec<Message>| {
            let (here, there) = UnixStream::pair().unwrap();
            let connection = Connection::Unix(here);
            messages.iter().for_each(|it| connection.send(it).unwrap());
            drop(connection);
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut &there, &mut bytes).unwrap();
            bytes
        };
        all.map(sent).into()
    }

    fn mutate(random: &mut Random, bytes: &mut Vec<u8>) {
        for _ in 0..1 + random.below(4) {
            if bytes.is_empty() {
                return;
            }
            // Where a message begins, more often than not.
            let most = if random.once_in(3) {
                bytes.len()
            } else {
                bytes.len().min(60)
            };
            let at = random.below(most);
            match random.below(7) {
                0 => bytes[at] ^= 1 << random.below(8),
                1 => bytes[at] = random.below(256) as u8,
                2 => bytes.truncate(at),
                3 => drop(bytes.drain(at..(at + 1 + random.below(20)).min(bytes.len()))),
                4 => {
                    let new: Vec<_> = (0..random.below(20)).map(|_| random.next() as u8).collect();
                    drop(bytes.splice(at..at, new));
                }
                5 => {
                    let length = random.next() >> random.below(64);
                    let end = (at + 8).min(bytes.len());
                    drop(bytes.splice(at..end, length.to_le_bytes()));
                }
                _ => bytes[at] = u8::MAX,
            }
        }
    }

    /// As the type that a caller may be waiting for.
    fn load(unpickler: &mut Unpickler<'_>, what: usize) -> Result<(), PickleError> {
        if u8::load(unpickler)? != 1 {
            return Exception::load(unpickler).map(drop);
        }
        match what {
            0 => u64::load(unpickler).map(drop),
            1 => Vec::<u8>::load(unpickler).map(drop),
            2 => Vec::<i32>::load(unpickler).map(drop),
            3 => Chunk::load(unpickler).map(drop),
            4 => BTreeMap::<String, u16>::load(unpickler).map(drop),
            _ => Vec::<Option<Box<Vec<String>>>>::load(unpickler).map(drop),
        }
    }

    /// Returns how many messages were taken for whole.
    fn receive(bytes: &[u8], what: usize) -> usize {
        let (mut here, there) = UnixStream::pair().unwrap();
        // It fits into the buffers.
        here.write_all(bytes).unwrap();
        here.shutdown(Shutdown::Write).unwrap();
        let connection = Connection::Unix(there);
        let mut receiver = Receiver::new();
        let mut whole = 0;
        while let Ok(mut message) = receiver.recv_bytes(&connection) {
            let to_come = message.to_come();
            let mut unpickler = match &mut message.rest {
                Some(rest) => Unpickler::from_stream(message.received, rest, to_come),
                None => Unpickler::new(message.received),
            };
            let _ = load(&mut unpickler, (what + whole) % 6);
            if message.finish().is_err() {
                break;
            }
            whole += 1;
        }
        whole
    }

    #[test]
    fn streams_of_a_stranger() {
        if !is_child("hostile") {
            // In kilobytes: a single length that is believed is more than that.
            let ended = child(
                "hostile::streams_of_a_stranger",
                "hostile",
                "ulimit -v 600000",
            );
            assert_eq!(ended.code, Some(0), "{ended:?}");
            let last = ended.stdout.lines().find(|line| line.contains("streams"));
            println!("{}", last.unwrap());
            return;
        }
        let count = env::var("HOSTILE_STREAMS").map_or(20_000, |text| text.parse().unwrap());
        let mut random = Random::new(18);
        let good = streams();
        assert_eq!(
            good.iter().map(|bytes| receive(bytes, 0)).sum::<usize>(),
            11
        );
        let mut whole = 0;
        for n in 0..count {
            let mut bytes = good[n % good.len()].clone();
            mutate(&mut random, &mut bytes);
            whole += receive(&bytes, random.below(6));
        }
        let peak = process_status("VmHWM");
        println!("{count} streams, {whole} messages, {peak} kB at most");
        assert!(peak < 100_000, "{peak} kB");
    }
}
