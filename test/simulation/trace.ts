import { createHash } from 'node:crypto'

/** What happened, line by line: kept only if somebody will read it, but always summed up in a hash. */
export class Trace {
  readonly #lines: string[] | undefined
  readonly #hash = createHash('sha256')
  readonly #nowMs: () => number

  constructor(nowMs: () => number, { keep }: { readonly keep: boolean }) {
    this.#nowMs = nowMs
    this.#lines = keep ? [] : undefined
  }

  get lines(): readonly string[] {
    return this.#lines ?? []
  }

  /** The same for the same trace, byte for byte. */
  get digest(): string {
    return this.#hash.copy().digest('hex')
  }

  add(who: string, text: string): void {
    const line = `${(this.#nowMs() / 1_000).toFixed(6)} ${who}: ${text}`
    this.#hash.update(`${line}\n`)
    this.#lines?.push(line)
  }
}
