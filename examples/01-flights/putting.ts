import { setImmediate, setTimeout } from 'node:timers/promises'
import { crc32 } from 'node:zlib'
import type { Producer } from '@shardwise/producer'
import type { Ledger } from './ledger.ts'
import { withNumber } from './numbered-json.ts'
import type { Source } from './source.ts'

/** Something to do before the record of this number is put. */
export interface Milestone {
  readonly at: number
  reached(): Promise<void>
}

/** What is put and not delivered yet has to fit into what the local stream retains, with much to spare. */
const MAX_BEHIND_BYTES = 256 * 2 ** 20
const BEHIND_POLL_MS = 20
/**
 * Puts in one turn of the event loop. A worker's socket holds some 280 reports (Linux counts 768 bytes for each of 212,992),
 * and then the worker waits: with longer turns the workers would wait most of the time.
 */
const TURN = 128

export interface PutAll {
  readonly source: Source
  readonly producer: Pick<Producer, 'put' | 'ready'>
  readonly ledger: Ledger
  readonly milestones: readonly Milestone[]
  /** Called when the producer gives a record up. */
  readonly onRejected: (number: number, error: unknown) => void
  readonly signal: AbortSignal
}

/** Puts every record of the source, as fast as the producer and the workers take them. */
export async function putAll({ source, producer, ledger, milestones, onRejected, signal }: PutAll): Promise<void> {
  const ahead = [...milestones].sort((a, b) => a.at - b.at)
  for await (const batch of source.batches()) {
    // A batch is small (at most some 1.3 MB), so asking for room once for all of it is enough.
    await producer.ready
    while (ledger.putBytes - ledger.deliveredBytes > MAX_BEHIND_BYTES)
      await setTimeout(BEHIND_POLL_MS, null, { signal })
    for (const { key, json } of batch) {
      const number = ledger.put
      while (ahead[0]?.at === number) await ahead.shift()!.reached()
      const data = withNumber(json, number)
      ledger.notePut(key, Buffer.byteLength(data), crc32(data))
      producer.put({ partitionKey: key, data }).then(
        (receipt) => ledger.noteReceipt(number, receipt),
        (error: unknown) => onRejected(number, error),
      )
      if (number % TURN === TURN - 1) {
        await setImmediate()
        signal.throwIfAborted()
      }
    }
  }
}
