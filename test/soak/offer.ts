import { setTimeout } from 'node:timers/promises'
import { type Clock, type Random, silentLogger } from '@shardwise/core'
import type { LocalClientConfig } from '@shardwise/local'
import { Producer, type ProducerError } from '@shardwise/producer'
import type { Ledger } from './ledger.ts'

/** A producer, and what its caller puts. */
export interface Offer {
  readonly name: string
  readonly aggregation: boolean
  readonly ordering: 'key' | 'none'
  readonly keys: number
  readonly recordsPerSecond: number
  readonly bytes: number
}

export const OFFERS: readonly Offer[] = [
  { name: 'aggregated', aggregation: true, ordering: 'key', keys: 200, recordsPerSecond: 1_500, bytes: 120 },
  { name: 'plain', aggregation: false, ordering: 'key', keys: 100, recordsPerSecond: 150, bytes: 300 },
  { name: 'unordered', aggregation: true, ordering: 'none', keys: 100, recordsPerSecond: 500, bytes: 120 },
]

const TURN_MS = 20

export interface OfferSettings {
  readonly stream: string
  readonly kinesis: LocalClientConfig
  readonly ledger: Ledger
  readonly clock: Clock
  readonly random: Random
  /** Ends the offering; what was put by then is delivered. */
  readonly signal: AbortSignal
  /** Told of every record that was given up. */
  readonly onError: (error: ProducerError) => void
}

/** Puts records at the offer's rate, or as fast as there is room, and keeps the ledger of them. */
export async function offer(
  { name, aggregation, ordering, keys, recordsPerSecond, bytes }: Offer,
  { stream, kinesis, ledger, clock, random, signal, onError }: OfferSettings,
): Promise<void> {
  const producer = new Producer({
    stream,
    clientConfig: kinesis,
    aggregation,
    ordering,
    recordTtl: 60_000,
    maxOutstandingBytes: 16 * 2 ** 20,
    logger: silentLogger,
    random,
  })
  const put = (): void => {
    const key = `${name}-${Math.floor(random() * keys)}`
    const number = ledger.put(key, ordering === 'key')
    producer.put({ partitionKey: key, data: dataOf(number, bytes) }).then(
      ({ earlierCopy }) => ledger.acknowledge(key, number, earlierCopy !== undefined),
      (error: ProducerError) => {
        ledger.reject(key, number, error.outcome)
        onError(error)
      },
    )
  }

  let due = 0
  let beforeMs = clock.monotonicMs()
  while (!signal.aborted) {
    await setTimeout(TURN_MS)
    const nowMs = clock.monotonicMs()
    // What there was no room for is not made up for.
    due = Math.min(due, 1) + ((nowMs - beforeMs) / 1_000) * recordsPerSecond
    beforeMs = nowMs
    for (; due >= 1 && !signal.aborted; due--) {
      await producer.ready
      put()
    }
  }
  await producer.close()
}

/** The number in front, up to a blank. */
function dataOf(number: number, bytes: number): Uint8Array {
  return Buffer.from(`${number} `.padEnd(bytes, '.'))
}

export function numberIn(data: Uint8Array): number {
  return Number.parseInt(Buffer.from(data.buffer, data.byteOffset, Math.min(data.length, 16)).toString('latin1'), 10)
}
