import { Writable } from 'node:stream'
import type { UserRecord } from './user-record.ts'

/** What the stream does with a producer. */
export interface RecordSink<Value> {
  put(record: UserRecord<Value>): Promise<unknown>
  readonly ready: Promise<void>
  flush(): Promise<void>
}

export interface WritableOptions {
  /** Whether a record that can't be put is somebody else's business (`onError`), so that the stream goes on. */
  readonly goesOn: boolean
}

/**
 * The record being put, and one behind it: with fewer, `write` would never return true. What is buffered here comes on top of
 * what the producer bounds, and a producer with room takes each record at once.
 */
const HIGH_WATER_MARK = 2

/**
 * A stream of user records into a producer. `write` returns false while the producer is full, and `drain` comes when it has
 * room again. The stream finishes when every record written to it is acknowledged; a record that can't be put destroys it,
 * unless it goes on. The producer stays open in any case.
 */
export function writableTo<Value>(producer: RecordSink<Value>, { goesOn }: WritableOptions): Writable {
  let unsettled = 0
  let finish: (() => void) | undefined
  /** A promise that was seen to be resolved: a producer that has room gives the same one each time. */
  let room: Promise<void> | undefined

  const stream = new Writable({
    objectMode: true,
    highWaterMark: HIGH_WATER_MARK,
    write(record: UserRecord<Value>, _encoding, callback) {
      unsettled++
      producer.put(record).then(onSettled, onFailed)
      const { ready } = producer
      if (ready === room) {
        callback()
        return
      }
      ready.then(() => {
        room = ready
        callback()
      }, callback)
    },
    final(callback) {
      if (unsettled === 0) {
        callback()
        return
      }
      finish = callback
      // It sends at once; what it waits for are others' records as well.
      producer.flush().catch((error) => stream.destroy(error))
    },
  })

  function onSettled(): void {
    unsettled--
    if (unsettled === 0) finish?.()
  }

  function onFailed(error: Error): void {
    if (!goesOn) stream.destroy(error)
    else onSettled()
  }

  return stream
}
