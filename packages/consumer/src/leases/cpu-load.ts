import { cpus } from 'node:os'

/** How many of the last loads an entry holds, as the KCL's does. */
const KEPT = 10

/** The machine's CPU load in percent, from one sample to the next. */
export class CpuLoad {
  readonly #read: typeof cpus
  #before: { readonly busy: number; readonly all: number }
  #loads: number[] = []

  constructor(read: typeof cpus = cpus) {
    this.#read = read
    this.#before = this.#times()
  }

  /** The last loads, the newest last, with the one since the last call. */
  sample(): readonly number[] {
    const now = this.#times()
    const all = now.all - this.#before.all
    if (all > 0) this.#loads = [...this.#loads, (100 * (now.busy - this.#before.busy)) / all].slice(-KEPT)
    this.#before = now
    return this.#loads
  }

  #times(): { busy: number; all: number } {
    let all = 0
    let idle = 0
    for (const { times } of this.#read()) {
      idle += times.idle
      all += times.user + times.nice + times.sys + times.idle + times.irq
    }
    return { busy: all - idle, all }
  }
}
