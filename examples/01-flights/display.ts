import type { WriteStream } from 'node:tty'

/** The part of `process.stdout` that is used. */
export type Output = Pick<WriteStream, 'write'> & Partial<Pick<WriteStream, 'isTTY' | 'columns' | 'rows'>>

export type Colour = 'green' | 'red' | 'yellow' | 'dim' | 'bold'

const CODES: Record<Colour, number> = { bold: 1, dim: 2, red: 31, green: 32, yellow: 33 }

/**
 * Lines on a terminal with one block below them that is redrawn in place; without a terminal, lines only.
 */
export class Display {
  /** Whether there is a block that can be redrawn. */
  readonly live: boolean
  readonly #output: Output
  readonly #colours: boolean
  #drawn = 0
  #block: readonly string[] = []

  constructor(output: Output, env: { readonly NO_COLOR?: string | undefined; readonly TERM?: string | undefined }) {
    this.#output = output
    this.live = output.isTTY === true && env.TERM !== 'dumb'
    // https://no-color.org: any value but the empty one.
    this.#colours = this.live && (env.NO_COLOR ?? '') === ''
  }

  /** A line that stays. */
  line(text: string, colour?: Colour): void {
    this.#output.write(`${this.#erase()}${this.#paint(text, colour)}\n${this.#draw()}`)
  }

  /** Replaces the block. */
  block(lines: readonly string[]): void {
    if (!this.live) return
    const erase = this.#erase()
    this.#block = lines
    this.#output.write(erase + this.#draw())
  }

  /** Removes the block. */
  endBlock(): void {
    this.block([])
  }

  #erase(): string {
    return this.#drawn === 0 ? '' : `\x1b[${this.#drawn}A\r\x1b[J`
  }

  /** Cut to the terminal's size: a line that wraps, or a block that scrolls, couldn't be erased again. */
  #draw(): string {
    const width = (this.#output.columns ?? 80) - 1
    const lines = this.#block.slice(0, (this.#output.rows ?? 24) - 1)
    this.#drawn = lines.length
    return lines.map((line) => `${[...line].slice(0, width).join('')}\n`).join('')
  }

  #paint(text: string, colour: Colour | undefined): string {
    return this.#colours && colour !== undefined ? `\x1b[${CODES[colour]}m${text}\x1b[0m` : text
  }
}
