import type { Lane } from './lane.ts'
import type { Lanes } from './lanes.ts'
import type { SealedRecord } from './sealed-record.ts'

export interface CollectorSettings {
  readonly collectionMaxCount: number
  readonly collectionMaxSize: number
}

/** A Kinesis record on its way, with the lane it came from. */
export interface InFlight {
  readonly lane: Lane
  readonly sealed: SealedRecord
  /** On the monotonic clock. */
  readonly sentAtMs: number
}

/**
 * Takes what may go now from the lanes that have something waiting, for one PutRecords. Goes round the lanes one record at
 * a time, so that a long queue doesn't fill the request before the others' turn, and gives those that had none theirs first
 * in the next request.
 */
export function collect(lanes: Lanes, nowMs: number, flushing: boolean, settings: CollectorSettings): InFlight[] {
  const collected: InFlight[] = []
  let bytes = 0
  let turn = [...lanes.active]
  while (turn.length > 0) {
    const next: Lane[] = []
    for (const lane of turn) {
      const sealed = lane.next(nowMs, flushing)
      if (sealed === undefined) {
        if (lane.isIdle) lanes.deactivate(lane)
        continue
      }
      // What may be to blame for a refusal waits for a request of its own.
      if (sealed.isSuspect && collected.length > 0) continue
      const isFull =
        collected.length >= settings.collectionMaxCount || bytes + sealed.bytes > settings.collectionMaxSize
      if (isFull && collected.length > 0) return ended(collected, lanes)
      lane.take(nowMs)
      collected.push({ lane, sealed, sentAtMs: nowMs })
      if (sealed.isSuspect) return ended(collected, lanes)
      bytes += sealed.bytes
      next.push(lane)
    }
    turn = next
  }
  return ended(collected, lanes)
}

function ended(collected: InFlight[], lanes: Lanes): InFlight[] {
  for (const lane of new Set(collected.map((each) => each.lane))) lanes.moveBack(lane)
  return collected
}
