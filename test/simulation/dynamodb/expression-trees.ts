/** What condition, update and projection expressions say, as trees. Names and values in them stay aliases. */

/** Attribute names (or their aliases, starting with `#`) and list indexes, from the item downwards. */
export type Path = readonly [string, ...(readonly (string | number)[])]

export type Operand =
  | { readonly kind: 'path'; readonly path: Path }
  | { readonly kind: 'value'; readonly alias: string }
  | { readonly kind: 'size'; readonly of: Operand }

export type Comparator = '=' | '<>' | '<' | '<=' | '>' | '>='

export type Condition =
  | { readonly kind: 'and' | 'or'; readonly left: Condition; readonly right: Condition }
  | { readonly kind: 'not'; readonly of: Condition }
  | { readonly kind: 'compare'; readonly by: Comparator; readonly left: Operand; readonly right: Operand }
  | { readonly kind: 'between'; readonly of: Operand; readonly low: Operand; readonly high: Operand }
  | { readonly kind: 'in'; readonly of: Operand; readonly among: readonly Operand[] }
  | { readonly kind: 'attribute_exists' | 'attribute_not_exists'; readonly path: Path }
  | {
      readonly kind: 'attribute_type' | 'begins_with' | 'contains'
      readonly of: Operand
      readonly argument: Operand
    }

export type NewValue =
  | { readonly kind: 'path'; readonly path: Path }
  | { readonly kind: 'value'; readonly alias: string }
  | { readonly kind: '+' | '-' | 'list_append'; readonly left: NewValue; readonly right: NewValue }
  | { readonly kind: 'if_not_exists'; readonly path: Path; readonly otherwise: NewValue }

export type Action =
  | { readonly kind: 'SET'; readonly path: Path; readonly value: NewValue }
  | { readonly kind: 'REMOVE'; readonly path: Path }
  | { readonly kind: 'ADD' | 'DELETE'; readonly path: Path; readonly alias: string }
