//! `thread_local!`: a value for each thread of each schedule.

use ::std::any::Any;
use ::std::cell::RefCell;
use ::std::fmt;
use ::std::rc::Rc;

/// What [`crate::thread_local`] makes.
pub struct LocalKey<T: 'static> {
    #[doc(hidden)]
    pub make: fn() -> T,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessError;

impl fmt::Display for AccessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("already destroyed")
    }
}

impl ::std::error::Error for AccessError {}

/// The values of the model thread that runs on this thread, by the addresses of their keys. `None` once destroyed.
type Values = Vec<(usize, Option<Rc<dyn Any>>)>;

::std::thread_local! {
    static VALUES: RefCell<Values> = const { RefCell::new(Vec::new()) };
}

impl<T: 'static> LocalKey<T> {
    fn value(&'static self) -> Result<Rc<T>, AccessError> {
        let key = self as *const Self as usize;
        let known = VALUES.with(|values| {
            values
                .borrow()
                .iter()
                .find(|value| value.0 == key)
                .map(|value| value.1.clone())
        });
        let value = match known {
            Some(value) => value.ok_or(AccessError)?,
            None => {
                let value: Rc<dyn Any> = Rc::new((self.make)());
                VALUES.with(|values| values.borrow_mut().push((key, Some(value.clone()))));
                value
            }
        };
        Ok(value.downcast().expect("a key has one type"))
    }

    pub fn with<R>(&'static self, f: impl FnOnce(&T) -> R) -> R {
        f(&*self
            .value()
            .expect("a thread-local value is used after its destruction"))
    }

    pub fn try_with<R>(&'static self, f: impl FnOnce(&T) -> R) -> Result<R, AccessError> {
        Ok(f(&*self.value()?))
    }
}

impl<T: fmt::Debug> fmt::Debug for LocalKey<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalKey").finish_non_exhaustive()
    }
}

/// At the end of a thread: destroys its values, in the order in which they were first used, and those that
/// are made meanwhile.
pub(crate) fn destroy() -> Result<(), Box<dyn Any + Send>> {
    let destroyed = ::std::panic::catch_unwind(|| {
        let mut at = 0;
        while let Some(value) =
            VALUES.with(|values| values.borrow_mut().get_mut(at).map(|value| value.1.take()))
        {
            drop(value);
            at += 1;
        }
    });
    VALUES.with(|values| values.borrow_mut().clear());
    destroyed
}

#[macro_export]
macro_rules! thread_local {
    () => {};
    ($(#[$attribute:meta])* $visibility:vis static $name:ident: $type:ty = const $value:block; $($rest:tt)*) => {
        $crate::thread_local!(@key [$(#[$attribute])*] $visibility $name, $type, $value);
        $crate::thread_local!($($rest)*);
    };
    ($(#[$attribute:meta])* $visibility:vis static $name:ident: $type:ty = const $value:block) => {
        $crate::thread_local!(@key [$(#[$attribute])*] $visibility $name, $type, $value);
    };
    ($(#[$attribute:meta])* $visibility:vis static $name:ident: $type:ty = $value:expr; $($rest:tt)*) => {
        $crate::thread_local!(@key [$(#[$attribute])*] $visibility $name, $type, $value);
        $crate::thread_local!($($rest)*);
    };
    ($(#[$attribute:meta])* $visibility:vis static $name:ident: $type:ty = $value:expr) => {
        $crate::thread_local!(@key [$(#[$attribute])*] $visibility $name, $type, $value);
    };
    (@key [$(#[$attribute:meta])*] $visibility:vis $name:ident, $type:ty, $value:expr) => {
        $(#[$attribute])*
        $visibility static $name: $crate::thread::LocalKey<$type> = {
            fn make() -> $type {
                $value
            }
            $crate::thread::LocalKey { make }
        };
    };
}
