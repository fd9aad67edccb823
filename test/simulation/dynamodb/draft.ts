import type { AttributeValue } from '@aws-sdk/client-dynamodb'
import { invalid } from './errors.ts'
import { below, type Steps } from './paths.ts'
import type { Item } from './values.ts'

/** An item in change: what is written to is copied first, everything else shared. */
export class Draft {
  readonly #root: { M: Record<string, AttributeValue> }
  readonly #copies = new Set<AttributeValue>()

  constructor(item: Item) {
    this.#root = { M: { ...item } }
    this.#copies.add(this.#root)
  }

  write(path: Steps, content: AttributeValue | undefined): void {
    let at: AttributeValue = this.#root
    for (const step of path.slice(0, -1)) {
      const next = below(at, step)
      if (next === undefined || (next.M === undefined && next.L === undefined)) throw wrongPath()
      const copy = this.#copied(next)
      put(at, step, copy)
      at = copy
    }
    put(at, path.at(-1)!, content)
  }

  #copied(value: AttributeValue): AttributeValue {
    if (this.#copies.has(value)) return value
    const copy: AttributeValue = value.M !== undefined ? { M: { ...value.M } } : { L: [...value.L!] }
    this.#copies.add(copy)
    return copy
  }

  /** Indexes mean the list as it was, so that gaps close only at the end. */
  finish(): Item {
    for (const copy of this.#copies) {
      if (copy.L !== undefined) copy.L = copy.L.filter((element) => element !== undefined)
      Object.freeze(copy.L ?? copy.M)
      Object.freeze(copy)
    }
    return this.#root.M
  }
}

function put(at: AttributeValue, step: string | number, content: AttributeValue | undefined): void {
  if (typeof step === 'number') {
    if (at.L === undefined) throw wrongPath()
    if (content !== undefined) at.L[step] = content
    else if (step in at.L) delete at.L[step]
  } else {
    if (at.M === undefined) throw wrongPath()
    if (content === undefined) delete at.M[step]
    else at.M[step] = content
  }
}

function wrongPath(): Error {
  return invalid('The document path provided in the update expression is invalid for update')
}
