import type { Display } from './display.ts'
import { liveBlock, type Progress, plainLine, Rates } from './progress.ts'

const LIVE_INTERVAL_MS = 200
const LOG_INTERVAL_MS = 3_000

/** Shows how the job stands, again and again until it is disposed of. */
export class Ticker implements Disposable {
  readonly #display: Display
  readonly #progress: () => Progress
  readonly #rates = new Rates()
  readonly #timer: NodeJS.Timeout

  constructor(display: Display, progress: () => Progress) {
    this.#display = display
    this.#progress = progress
    this.#timer = setInterval(() => this.#show(), display.live ? LIVE_INTERVAL_MS : LOG_INTERVAL_MS)
  }

  #show(): void {
    const progress = this.#progress()
    const rates = this.#rates.at(progress)
    if (this.#display.live) this.#display.block(liveBlock(progress, rates))
    else this.#display.line(plainLine(progress, rates))
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer)
    this.#display.block([])
  }
}
