import { comparePositions, type Position } from '@shardwise/records'

/**
 * The checkpoint where the handler names it: the greatest named position with everything up to it finished. Names may come in any
 * order, as handlers of different keys do.
 */
export class ManualCheckpoint {
  /** Named and above what was finished at the last look, in order. */
  #named: Position[] = []
  #reached: Position | undefined

  /** One at or below the checkpoint is of no account. */
  name({ sequenceNumber, subSequenceNumber }: Position): void {
    const position = { sequenceNumber, subSequenceNumber }
    if (this.#reached !== undefined && comparePositions(position, this.#reached) <= 0) return
    const at = this.#placeOf(position)
    const before = this.#named[at - 1]
    if (before === undefined || comparePositions(before, position) < 0) this.#named.splice(at, 0, position)
  }

  /** @param finished the position up to which everything is finished @returns undefined until a named one is reached */
  at(finished: Position): Position | undefined {
    const passed = this.#named.length === 0 ? 0 : this.#placeOf(finished)
    if (passed > 0) {
      this.#reached = this.#named[passed - 1]
      this.#named = this.#named.slice(passed)
    }
    return this.#reached
  }

  /** The first index whose position is greater. */
  #placeOf(position: Position): number {
    let [low, high] = [0, this.#named.length]
    while (low < high) {
      const middle = (low + high) >> 1
      if (comparePositions(this.#named[middle]!, position) <= 0) low = middle + 1
      else high = middle
    }
    return low
  }
}
