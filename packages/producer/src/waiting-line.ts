import type { Clock } from '@shardwise/core'
import { Alarm } from './alarm.ts'
import { Fifo } from './fifo.ts'
import { type Pending, sizeOf } from './pending.ts'
import type { StreamWriter } from './stream-writer.ts'
import type { CheckedRecord } from './user-record.ts'

/** A user record that waits for room. */
export interface InLine {
  readonly record: CheckedRecord
  readonly pending: Pending
  readonly writer: StreamWriter
}

/** The user records of all streams that wait for room, oldest first. Its alarm rings when the first of them is too old. */
export class WaitingLine {
  readonly #records = new Fifo<InLine>()
  readonly #alarm: Alarm
  readonly #recordTtl: number
  #bytes = 0

  constructor(clock: Clock, recordTtl: number, onExpired: () => void) {
    this.#recordTtl = recordTtl
    this.#alarm = new Alarm(clock, onExpired)
  }

  get length(): number {
    return this.#records.length
  }

  get bytes(): number {
    return this.#bytes
  }

  get first(): InLine | undefined {
    return this.#records.first
  }

  push(waiting: InLine): void {
    this.#records.push(waiting)
    this.#bytes += sizeOf(waiting.pending)
    this.setAlarm(waiting.pending.arrivedMs)
  }

  shift(): InLine | undefined {
    const first = this.#records.shift()
    if (first !== undefined) this.#bytes -= sizeOf(first.pending)
    if (this.#records.length === 0) this.#alarm.cancel()
    return first
  }

  /** When the first may wait no longer, on the monotonic clock; Infinity if nobody waits. */
  get expiresMs(): number {
    return (this.first?.pending.arrivedMs ?? Number.POSITIVE_INFINITY) + this.#recordTtl
  }

  setAlarm(nowMs: number): void {
    if (this.length > 0) this.#alarm.setBy(this.expiresMs, nowMs)
  }
}
