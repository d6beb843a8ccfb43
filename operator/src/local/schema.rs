//! A value against the structural schema of a custom resource, in the API server's words. Only the keywords that our own
//! definitions use; a test below sees to it that there are no others.

use serde_json::Value;

/// Fills in what is left out and has a default, as the API server does before it looks at the rules: a rule would otherwise
/// not see that a field that is removed falls back.
pub fn fill(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(object) => {
            for (name, below) in schema["properties"].as_object().into_iter().flatten() {
                let given = object.get(name);
                let left_out = given.is_none_or(|given| given.is_null() && below["nullable"] != true);
                if let Some(default) = below.get("default").filter(|_| left_out) {
                    object.insert(name.clone(), default.clone());
                }
                if let Some(value) = object.get_mut(name) {
                    fill(below, value);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| fill(&schema["items"], item)),
        _ => {}
    }
}

/// Checks `value` (absent: `None`) at `path` and adds what is wrong.
pub fn check(schema: &Value, value: Option<&Value>, path: &str, mistakes: &mut Vec<String>) {
    let Some(value) = value else {
        if schema.get("default").is_none() {
            mistakes.push(format!("{path}: Required value"));
        }
        return;
    };
    if value.is_null() {
        if schema["nullable"] != true && schema.get("default").is_none() {
            mistakes.push(format!("{path}: Invalid value: \"null\": null is not allowed"));
        }
        return;
    }
    if let Some(wanted) = wrong_type(schema, value) {
        mistakes.push(format!(
            "{path}: Invalid value: {value}: must be of type {wanted}"
        ));
        return;
    }
    match value {
        Value::Object(object) => check_object(schema, object, path, mistakes),
        Value::Array(items) => check_array(schema, items, path, mistakes),
        _ => check_scalar(schema, value, path, mistakes),
    }
}

fn wrong_type<'a>(schema: &'a Value, value: &Value) -> Option<&'a str> {
    if schema["x-kubernetes-int-or-string"] == true {
        return (!value.is_string() && !value.is_i64() && !value.is_u64()).then_some("integer or string");
    }
    let wanted = schema["type"].as_str()?;
    let right = match wanted {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        _ => true,
    };
    (!right).then_some(wanted)
}

fn check_object(
    schema: &Value,
    object: &serde_json::Map<String, Value>,
    path: &str,
    mistakes: &mut Vec<String>,
) {
    for name in schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
    {
        if !object.contains_key(name) {
            mistakes.push(format!("{path}.{name}: Required value"));
        }
    }
    if let Some(most) = schema["maxProperties"].as_u64()
        && object.len() as u64 > most
    {
        mistakes.push(format!("{path}: Too many: must have at most {most} items"));
    }
    for (name, value) in object {
        let below = format!("{path}.{name}");
        if let Some(schema) = schema["properties"].get(name) {
            check(schema, Some(value), &below, mistakes);
        } else if schema["additionalProperties"].is_object() {
            check(&schema["additionalProperties"], Some(value), &below, mistakes);
        } else if schema["x-kubernetes-preserve-unknown-fields"] != true {
            mistakes.push(format!("{below}: unknown field"));
        }
    }
}

fn check_array(schema: &Value, items: &[Value], path: &str, mistakes: &mut Vec<String>) {
    let count = items.len() as u64;
    if let Some(most) = schema["maxItems"].as_u64().filter(|most| count > *most) {
        mistakes.push(format!(
            "{path}: Too many: {count}: must have at most {most} items"
        ));
    }
    if let Some(least) = schema["minItems"].as_u64().filter(|least| count < *least) {
        mistakes.push(format!("{path}: Invalid value: must have at least {least} items"));
    }
    for (index, item) in items.iter().enumerate() {
        check(
            &schema["items"],
            Some(item),
            &format!("{path}[{index}]"),
            mistakes,
        );
    }
    let keys: Vec<&str> = schema["x-kubernetes-list-map-keys"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let identity = |item: &Value| keys.iter().map(|key| item[*key].clone()).collect::<Vec<_>>();
    for (index, item) in items.iter().enumerate() {
        if !keys.is_empty()
            && items[..index]
                .iter()
                .any(|other| identity(other) == identity(item))
        {
            mistakes.push(format!("{path}[{index}]: Duplicate value: {}", item[keys[0]]));
        }
    }
}

fn check_scalar(schema: &Value, value: &Value, path: &str, mistakes: &mut Vec<String>) {
    if let Some(words) = schema["enum"].as_array()
        && !words.contains(value)
    {
        let words: Vec<String> = words
            .iter()
            .filter(|word| !word.is_null())
            .map(Value::to_string)
            .collect();
        mistakes.push(format!(
            "{path}: Unsupported value: {value}: supported values: {}",
            words.join(", ")
        ));
    }
    if let Some(number) = value.as_f64() {
        if let Some(least) = schema["minimum"].as_f64().filter(|least| number < *least) {
            mistakes.push(format!(
                "{path}: Invalid value: {value}: should be greater than or equal to {least}"
            ));
        }
        if let Some(most) = schema["maximum"].as_f64().filter(|most| number > *most) {
            mistakes.push(format!(
                "{path}: Invalid value: {value}: should be less than or equal to {most}"
            ));
        }
    }
    let Some(text) = value.as_str() else { return };
    let length = text.chars().count() as u64;
    if schema["minLength"].as_u64().is_some_and(|least| length < least) {
        mistakes.push(format!(
            "{path}: Invalid value: {value}: should be at least {} chars long",
            schema["minLength"]
        ));
    }
    if schema["maxLength"].as_u64().is_some_and(|most| length > most) {
        mistakes.push(format!(
            "{path}: Too long: may not be more than {} bytes",
            schema["maxLength"]
        ));
    }
    if let Some(pattern) = schema["pattern"].as_str()
        && !matches(pattern, text)
    {
        mistakes.push(format!(
            "{path}: Invalid value: {value}: should match '{pattern}'"
        ));
    }
}

/// The patterns of our definitions, by hand: a regular-expression engine for three of them is not worth its weight.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern {
        "^[a-z0-9]{1,11}$" => {
            (1..=11).contains(&text.len())
                && text
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        }
        "^[a-zA-Z0-9._-]{1,249}$" => {
            let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
            (1..=249).contains(&text.len()) && text.bytes().all(letter)
        }
        quantity if quantity.starts_with("^(\\+|-)?") => {
            crate::cluster::build::properties::bytes(text).is_some()
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A keyword that is not looked at here would be a rule that local mode does not have.
    #[test]
    fn our_definitions_use_no_other_keyword() {
        const KNOWN: &[&str] = &[
            "additionalProperties",
            "default",
            "description",
            "enum",
            "format",
            "items",
            "maxItems",
            "maxLength",
            "maxProperties",
            "maximum",
            "minItems",
            "minLength",
            "minimum",
            "nullable",
            "pattern",
            "properties",
            "required",
            "type",
            "x-kubernetes-int-or-string",
            "x-kubernetes-list-map-keys",
            "x-kubernetes-list-type",
            "x-kubernetes-preserve-unknown-fields",
            "x-kubernetes-validations",
        ];
        fn walk(schema: &Value) {
            let Some(object) = schema.as_object() else { return };
            for (keyword, value) in object {
                assert!(KNOWN.contains(&keyword.as_str()), "{keyword} in {schema}");
                match keyword.as_str() {
                    "properties" => value.as_object().unwrap().values().for_each(walk),
                    "items" | "additionalProperties" => walk(value),
                    "pattern" => assert!(
                        !matches(value.as_str().unwrap(), "\u{1}"),
                        "{value} is not implemented"
                    ),
                    _ => {}
                }
            }
        }
        for kind in ["KafkaCluster", "KafkaTopic"] {
            walk(&crate::crd::schema_of(kind).unwrap()["properties"]["spec"]);
        }
    }

    #[test]
    fn duplicates_in_a_list_map_are_found() {
        let schema = json!({"type": "array", "x-kubernetes-list-map-keys": ["name"], "items": {"type": "object", "properties": {"name": {"type": "string"}}}});
        let mut mistakes = Vec::new();
        check(
            &schema,
            Some(&json!([{"name": "a"}, {"name": "a"}])),
            "spec.listeners",
            &mut mistakes,
        );
        assert_eq!(mistakes, ["spec.listeners[1]: Duplicate value: \"a\""]);
    }
}
