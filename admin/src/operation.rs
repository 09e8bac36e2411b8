//! How operations are declared: what is given, what may be said beside it, and what comes back.

/// Declares an operation: a value that is carried out when it is awaited. It has `timeout`, a method for each option, and
/// a private `run` that its file writes.
macro_rules! operation {
    (
        $(#[$meta:meta])*
        pub struct $name:ident => $output:ty {
            $($field:ident: $type:ty,)*
        }
        $(options {
            $($(#[$option_meta:meta])* $option:ident: $option_type:ty = $default:expr,)*
        })?
    ) => {
        $(#[$meta])*
        ///
        /// Carried out when it is awaited.
        #[derive(Debug, Clone)]
        #[must_use = "nothing is asked for until it is awaited"]
        pub struct $name<'a> {
            admin: &'a $crate::Admin,
            limit: std::time::Duration,
            $($field: $type,)*
            $($($option: $option_type,)*)?
        }

        impl<'a> $name<'a> {
            fn new(admin: &'a $crate::Admin $(, $field: $type)*) -> Self {
                Self { admin, limit: admin.timeout() $(, $field)* $($(, $option: $default)*)? }
            }

            /// How long it may take, its retries included. Default: `default.api.timeout.ms`.
            pub const fn timeout(mut self, limit: std::time::Duration) -> Self {
                self.limit = limit;
                self
            }

            $($(
                $(#[$option_meta])*
                pub fn $option(mut self, $option: impl Into<$option_type>) -> Self {
                    self.$option = $option.into();
                    self
                }
            )*)?
        }

        impl<'a> IntoFuture for $name<'a> {
            type Output = $crate::Result<$output>;
            type IntoFuture = std::pin::Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

            fn into_future(self) -> Self::IntoFuture {
                Box::pin(self.run())
            }
        }
    };
}

pub(crate) use operation;
