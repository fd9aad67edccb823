import { invalid } from './errors.ts'
import type { Action, Comparator, Condition, NewValue, Operand, Path } from './expression-trees.ts'
import { RESERVED_WORDS } from './reserved-words.ts'

/** A tree, and the paths and aliases that occur in it. */
export interface Parsed<T> {
  readonly tree: T
  readonly paths: readonly Path[]
  readonly names: ReadonlySet<string>
  readonly values: ReadonlySet<string>
}

export const parseCondition: (text: string) => Parsed<Condition> = remembered((parser) => parser.condition())
export const parseUpdate: (text: string) => Parsed<readonly Action[]> = remembered((parser) => parser.update())
export const parseProjection: (text: string) => Parsed<readonly Path[]> = remembered((parser) => parser.projection())

const REMEMBERED = 10_000

/** A program has few expressions and sends them often. */
function remembered<T>(parse: (parser: Parser) => T): (text: string) => Parsed<T> {
  const known = new Map<string, Parsed<T>>()
  return (text) => {
    let parsed = known.get(text)
    if (parsed === undefined) {
      const parser = new Parser(text)
      const tree = parse(parser)
      parser.end()
      parsed = { tree, paths: parser.paths, names: parser.names, values: parser.values }
      if (known.size >= REMEMBERED) known.clear()
      known.set(text, parsed)
    }
    return parsed
  }
}

const COMPARATORS: ReadonlySet<string> = new Set<Comparator>(['=', '<>', '<', '<=', '>', '>='])
const SECTIONS: ReadonlySet<string> = new Set<Action['kind']>(['SET', 'REMOVE', 'ADD', 'DELETE'])

/** Recursive descent, one method for each rule of the grammar. */
class Parser {
  readonly paths: Path[] = []
  readonly names: Set<string> = new Set()
  readonly values: Set<string> = new Set()
  readonly #tokens: readonly string[]
  readonly #inParentheses = new Set<Condition | Operand>()
  #next = 0

  constructor(text: string) {
    if (text === '') throw invalid('Invalid expression: The expression can not be empty;')
    this.#tokens = tokenize(text)
  }

  end(): void {
    if (this.#next < this.#tokens.length) throw this.#unexpected()
  }

  condition(): Condition {
    return this.#asCondition(this.#or())
  }

  update(): Action[] {
    const actions: Action[] = []
    const seen = new Set<string>()
    do {
      const section = this.#peek().toUpperCase()
      if (!SECTIONS.has(section)) throw this.#unexpected()
      if (seen.has(section)) {
        throw invalid(
          `Invalid UpdateExpression: The "${section}" section can only be used once in an update expression;`,
        )
      }
      seen.add(section)
      this.#next++
      do actions.push(this.#action(section as Action['kind']))
      while (this.#take(','))
    } while (this.#next < this.#tokens.length)
    return actions
  }

  projection(): Path[] {
    const paths = [this.#path()]
    while (this.#take(',')) paths.push(this.#path())
    return paths
  }

  #or(): Condition | Operand {
    let left = this.#and()
    while (this.#takeWord('OR')) {
      left = { kind: 'or', left: this.#asCondition(left), right: this.#asCondition(this.#and()) }
    }
    return left
  }

  #and(): Condition | Operand {
    let left = this.#not()
    while (this.#takeWord('AND')) {
      left = { kind: 'and', left: this.#asCondition(left), right: this.#asCondition(this.#not()) }
    }
    return left
  }

  #not(): Condition | Operand {
    if (this.#takeWord('NOT')) return { kind: 'not', of: this.#asCondition(this.#not()) }
    return this.#comparison()
  }

  #comparison(): Condition | Operand {
    const left = this.#term()
    const operator = this.#peek()
    if (COMPARATORS.has(operator)) {
      this.#next++
      const right = this.#asOperand(this.#term())
      return { kind: 'compare', by: operator as Comparator, left: this.#asOperand(left), right }
    }
    if (this.#takeWord('BETWEEN')) {
      const low = this.#asOperand(this.#term())
      if (!this.#takeWord('AND')) throw this.#unexpected()
      return { kind: 'between', of: this.#asOperand(left), low, high: this.#asOperand(this.#term()) }
    }
    if (this.#takeWord('IN')) {
      this.#expect('(')
      const among = this.#list(() => this.#asOperand(this.#term()))
      return { kind: 'in', of: this.#asOperand(left), among }
    }
    return left
  }

  #term(): Condition | Operand {
    if (this.#take('(')) {
      const inner = this.#or()
      this.#expect(')')
      if (this.#inParentheses.has(inner)) throw invalid('Invalid expression: The expression has redundant parentheses;')
      this.#inParentheses.add(inner)
      return inner
    }
    if (this.#peek().startsWith(':')) return { kind: 'value', alias: this.#value() }
    if (this.#tokens[this.#next + 1] === '(') return this.#function()
    return { kind: 'path', path: this.#path() }
  }

  #function(): Condition | Operand {
    const name = this.#tokens[this.#next++]!
    this.#expect('(')
    const given = this.#list(() => this.#asOperand(this.#term()))
    switch (name) {
      case 'size':
        return { kind: 'size', of: arity(name, given, 1)[0]! }
      case 'attribute_exists':
      case 'attribute_not_exists':
        return { kind: name, path: asPath(name, arity(name, given, 1)[0]!) }
      case 'attribute_type':
      case 'begins_with':
      case 'contains': {
        const [of, argument] = arity(name, given, 2)
        return { kind: name, of: of!, argument: argument! }
      }
      default:
        throw invalid(`Invalid expression: Invalid function name; function: ${name}`)
    }
  }

  #action(section: Action['kind']): Action {
    const path = this.#path()
    if (section === 'REMOVE') return { kind: section, path }
    if (section !== 'SET') return { kind: section, path, alias: this.#value() }
    this.#expect('=')
    return { kind: section, path, value: this.#newValue() }
  }

  #newValue(): NewValue {
    const left = this.#newOperand()
    const sign = this.#peek()
    if (sign !== '+' && sign !== '-') return left
    this.#next++
    return { kind: sign, left, right: this.#newOperand() }
  }

  #newOperand(): NewValue {
    if (this.#take('(')) {
      const inner = this.#newValue()
      this.#expect(')')
      return inner
    }
    if (this.#peek().startsWith(':')) return { kind: 'value', alias: this.#value() }
    if (this.#tokens[this.#next + 1] !== '(') return { kind: 'path', path: this.#path() }
    const name = this.#tokens[this.#next++]!
    this.#expect('(')
    const given = this.#list(() => this.#newOperand())
    if (name !== 'if_not_exists' && name !== 'list_append') {
      throw invalid(`Invalid UpdateExpression: Invalid function name; function: ${name}`)
    }
    const [left, right] = arity(name, given, 2)
    return name === 'list_append'
      ? { kind: name, left: left!, right: right! }
      : { kind: name, path: asPath(name, left!), otherwise: right! }
  }

  #path(): Path {
    const steps: [string, ...(string | number)[]] = [this.#name()]
    for (;;) {
      if (this.#take('.')) steps.push(this.#name())
      else if (this.#take('[')) {
        const index = this.#peek()
        if (!/^\d+$/.test(index)) throw this.#unexpected()
        this.#next++
        steps.push(Number(index))
        this.#expect(']')
      } else break
    }
    this.paths.push(steps)
    return steps
  }

  #name(): string {
    const name = this.#peek()
    if (!/^[#a-zA-Z]/.test(name)) throw this.#unexpected()
    this.#next++
    if (name.startsWith('#')) this.names.add(name)
    else checkUnreserved(name)
    return name
  }

  #value(): string {
    const alias = this.#peek()
    if (!alias.startsWith(':')) throw this.#unexpected()
    this.#next++
    this.values.add(alias)
    return alias
  }

  #list<T>(one: () => T): T[] {
    const all = [one()]
    while (this.#take(',')) all.push(one())
    this.#expect(')')
    return all
  }

  #asCondition(node: Condition | Operand): Condition {
    if (node.kind === 'path' || node.kind === 'value') throw this.#unexpected()
    if (node.kind === 'size') throw misused('size')
    return node
  }

  #asOperand(node: Condition | Operand): Operand {
    if (node.kind === 'path' || node.kind === 'value' || node.kind === 'size') return node
    if (node.kind.includes('_') || node.kind === 'contains') throw misused(node.kind)
    throw this.#unexpected()
  }

  #peek(): string {
    return this.#tokens[this.#next] ?? ''
  }

  #take(token: string): boolean {
    if (this.#peek() !== token) return false
    this.#next++
    return true
  }

  #takeWord(word: string): boolean {
    if (this.#peek().toUpperCase() !== word) return false
    this.#next++
    return true
  }

  #expect(token: string): void {
    if (!this.#take(token)) throw this.#unexpected()
  }

  #unexpected(): Error {
    const token = this.#tokens[this.#next] ?? '<EOF>'
    const near = this.#tokens.slice(Math.max(0, this.#next - 1), this.#next + 2).join(' ')
    return invalid(`Invalid expression: Syntax error; token: "${token}", near: "${near}"`)
  }
}

const TOKEN = /\s*([#:]?\w+|<=|>=|<>|[=<>(),.[\]+-])/y

function tokenize(text: string): string[] {
  const end = text.trimEnd().length
  const tokens: string[] = []
  TOKEN.lastIndex = 0
  while (TOKEN.lastIndex < end) {
    const from = TOKEN.lastIndex
    const token = TOKEN.exec(text)?.[1]
    if (token === undefined) throw invalid(`Invalid expression: Syntax error; near: "${text.slice(from, from + 20)}"`)
    tokens.push(token)
  }
  return tokens
}

function checkUnreserved(name: string): void {
  if (!RESERVED_WORDS.has(name.toUpperCase())) return
  throw invalid(`Invalid expression: Attribute name is a reserved keyword; reserved keyword: ${name}`)
}

function arity<T>(name: string, given: readonly T[], expected: number): readonly T[] {
  if (given.length === expected) return given
  throw invalid(
    'Invalid expression: Incorrect number of operands for operator or function; ' +
      `operator or function: ${name}, number of operands: ${given.length}`,
  )
}

function asPath(name: string, operand: Operand | NewValue): Path {
  if (operand.kind === 'path') return operand.path
  throw invalid(`Invalid expression: Operator or function requires a document path; operator or function: ${name}`)
}

function misused(name: string): Error {
  return invalid(
    `Invalid expression: The function is not allowed to be used this way in an expression; function: ${name}`,
  )
}
