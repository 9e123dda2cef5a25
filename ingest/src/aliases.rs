//! Routes beside the standard ones, for clients that know the service by another name.

use record::Catalog;

/// A route beside the standard ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alias {
    /// The path's only segment.
    pub route: String,
    /// The entity it writes.
    pub entity: String,
}

/// Parses `<route>:<entity>`.
pub(crate) fn alias(text: &str) -> Result<Alias, String> {
    match text.split_once(':') {
        Some((route, entity)) if !route.is_empty() && !entity.is_empty() && !route.contains('/') => {
            Ok(Alias { route: route.to_owned(), entity: entity.to_owned() })
        }
        _ => Err("expected <route>:<entity>, such as write-behind:users".to_owned()),
    }
}

/// What is wrong with them among the entities that there are.
pub(crate) fn faults(aliases: &[Alias], catalog: &Catalog) -> Vec<String> {
    let mut faults = Vec::new();
    for (at, Alias { route, entity }) in aliases.iter().enumerate() {
        if catalog.get(entity).is_none() {
            let known: Vec<_> = catalog.iter().map(|entity| entity.name().to_owned()).collect();
            faults.push(format!("--route-alias: there is no entity {entity}, only {}", known.join(", ")));
        }
        if catalog.get(route).is_some() || aliases.iter().take(at).any(|other| other.route == *route) {
            faults.push(format!("--route-alias: the route {route} is there already"));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_is_one_segment_and_an_entity() {
        let read = |text: &str| alias(text).map(|Alias { route, entity }| (route, entity)).ok();
        assert_eq!(read("write-behind:users"), Some(("write-behind".to_owned(), "users".to_owned())));
        for none in ["", "users", ":users", "write-behind:", "a/b:users"] {
            assert_eq!(read(none), None, "{none:?}");
        }
    }

    #[test]
    fn an_alias_leads_to_an_entity_and_takes_no_route_twice() {
        let catalog = service::schemas::load(concat!(env!("CARGO_MANIFEST_DIR"), "/../schemas").as_ref()).unwrap();
        let found = |texts: &[&str]| {
            let aliases: Vec<_> = texts.iter().map(|text| alias(text).unwrap()).collect();
            faults(&aliases, &catalog)
        };
        assert!(found(&["write-behind:users", "other:users"]).is_empty());
        assert_eq!(found(&["a:users", "a:users"]), ["--route-alias: the route a is there already"]);
        assert_eq!(found(&["users:users"]), ["--route-alias: the route users is there already"]);
        assert_eq!(found(&["a:nobody"]), ["--route-alias: there is no entity nobody, only users"]);
    }
}
