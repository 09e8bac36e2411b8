//! The job of describing groups, which the APIs of KIP-848 and its successors have in common but for their messages.

/// Declares `Job`, which asks each group's coordinator by `$request` and reads an item of the answer by `$described`.
macro_rules! describe_groups_by {
    ($request:ident => $value:ty, $described:path) => {
        struct Job {
            authorized: bool,
        }

        impl crate::driver::Operation for Job {
            type Key = String;
            type Value = $value;
            type Request = $request;

            fn place(&self, group: &String) -> crate::driver::Place {
                crate::driver::Place::group(group)
            }

            fn request(&self, _version: i16, groups: &[String]) -> Result<$request> {
                Ok($request {
                    group_ids: groups.to_vec(),
                    include_authorized_operations: self.authorized,
                    ..Default::default()
                })
            }

            fn read(
                &self,
                _groups: &[String],
                response: <$request as rkafka_protocol::wire::Request>::Response,
            ) -> crate::driver::Answers<String, $value> {
                Ok(response.groups.into_iter().map(|group| (group.group_id.clone(), $described(group))).collect())
            }
        }
    };
}
pub(crate) use describe_groups_by;
