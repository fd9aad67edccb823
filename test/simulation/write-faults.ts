import { ANY_WORKER, type AtWrite } from './faults.ts'
import type { SimulatedProcess } from './process.ts'
import type { TableWrite } from './table-requests.ts'

interface Armed {
  readonly fault: AtWrite
  readonly strike: (process: SimulatedProcess) => void
  left: number
}

/** Faults that wait for a process to write something to the table. */
export class WriteFaults {
  readonly #armed = new Set<Armed>()
  #struck = 0

  /** How many have come to pass. */
  get struck(): number {
    return this.#struck
  }

  /** @param strike called once, with the process that writes it */
  arm(fault: AtWrite, strike: (process: SimulatedProcess) => void): void {
    this.#armed.add({ fault, strike, left: fault.nth })
  }

  disarm(): void {
    this.#armed.clear()
  }

  /** The process is about to send a write. Returns what has to happen to it first. */
  sending(process: SimulatedProcess, write: TableWrite | undefined): (() => void) | undefined {
    const armed = this.#due('before', process, write)
    return armed && (() => armed.strike(process))
  }

  /** The table has carried a write out, and its answer isn't on its way yet. */
  written(process: SimulatedProcess, write: TableWrite | undefined): void {
    this.#due('after', process, write)?.strike(process)
  }

  #due(when: AtWrite['when'], process: SimulatedProcess, write: TableWrite | undefined): Armed | undefined {
    let due: Armed | undefined
    for (const armed of this.#armed) {
      const { fault } = armed
      if (fault.when !== when || fault.write !== write) continue
      if (fault.place !== ANY_WORKER && !isAt(process, fault.place)) continue
      if (--armed.left > 0 || due !== undefined) continue
      this.#armed.delete(armed)
      due = armed
      this.#struck++
    }
    return due
  }
}

/** Its name is that of its place, with how often it was renamed, and how often it was started. */
function isAt({ name }: SimulatedProcess, place: string): boolean {
  return name.startsWith(`${place}#`) || name.startsWith(`${place}-`)
}
