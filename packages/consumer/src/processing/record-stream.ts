import type { RecordSource } from '../tail/record-iterator.ts'
import type { ConsumerRecord } from './consumer-record.ts'
import type { EachRecord } from './handlers.ts'

/** What a {@link RecordStream} runs. */
export interface StreamRun<Value> {
  /** Consumes until {@link close}; calls the handler with one record at a time. */
  run(eachRecord: EachRecord<Value>): Promise<void>
  /** Whether the record's lease still holds. A loop that blocked the process for long finds out here before its timers do. */
  isHeld(record: ConsumerRecord<Value>): boolean
  /** Calls back a little later. */
  later(again: () => void): void
  /** Ends the run without waiting for the record in hand, which then counts as not handled. */
  close(): Promise<void>
}

interface InHand<Value> {
  readonly record: ConsumerRecord<Value>
  readonly finish: () => void
}

/**
 * Turns a handler inside out: each record is given to a loop, and finished when the loop asks for the next. One that the loop leaves
 * with isn't.
 */
export class RecordStream<Value> implements RecordSource<ConsumerRecord<Value>> {
  readonly #run: StreamRun<Value>
  /** Offered by the run, and not given out yet. */
  #offered: InHand<Value> | undefined
  #given: InHand<Value> | undefined
  #failure: { readonly error: unknown } | undefined
  #onChange: () => void = () => {}
  #isRunning = false
  #isOver = false

  constructor(run: StreamRun<Value>) {
    this.#run = run
  }

  get isOver(): boolean {
    return this.#isOver
  }

  start(onChange: () => void): void {
    this.#isRunning = true
    this.#onChange = onChange
    const running = this.#run.run((record, { signal }) => {
      const { promise, resolve, reject } = Promise.withResolvers<void>()
      const giveUp = (): void => {
        if (this.#offered === offered) this.#offered = undefined
        reject(signal.reason)
      }
      const finish = (): void => {
        // The signal lives as long as the lease.
        signal.removeEventListener('abort', giveUp)
        resolve()
      }
      const offered = { record, finish }
      if (signal.aborted) {
        reject(signal.reason)
        return promise
      }
      signal.addEventListener('abort', giveUp, { once: true })
      this.#offered = offered
      onChange()
      return promise
    })
    const over = (failure?: { readonly error: unknown }): void => {
      this.#isRunning = false
      this.#isOver = true
      this.#failure = failure
      onChange()
    }
    running.then(
      () => over(),
      (error: unknown) => over({ error }),
    )
  }

  take(): ConsumerRecord<Value> | undefined {
    if (this.#failure !== undefined) throw this.#failure.error
    this.#given?.finish()
    this.#given = undefined
    if (this.#offered === undefined) return undefined
    if (!this.#run.isHeld(this.#offered.record)) {
      // Lost, which takes the offer back; or renewed by an answer that came late, which nobody tells.
      this.#run.later(this.#onChange)
      return undefined
    }
    this.#given = this.#offered
    this.#offered = undefined
    return this.#given.record
  }

  async close(): Promise<void> {
    this.#given = undefined
    // One that never began, or was refused since there is another, has nothing to end.
    if (this.#isRunning) await this.#run.close()
  }
}
