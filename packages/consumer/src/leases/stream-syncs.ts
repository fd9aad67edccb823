import type { Clock, Kinesis } from '@shardwise/core'
import { Chore } from '../chore.ts'
import { inParallel } from '../in-parallel.ts'
import type { StreamSource } from '../streams/stream-source.ts'
import type { Streams } from '../streams/streams.ts'
import type { Telemetry } from '../telemetry/telemetry.ts'
import { timed } from '../timed.ts'
import type { FleetView } from './fleet-view.ts'
import { StreamSync } from './stream-sync.ts'
import type { Table } from './table.ts'

export interface StreamSyncsOptions {
  readonly table: Table
  readonly kinesis: Kinesis
  readonly streams: Streams
  readonly clock: Clock
  readonly telemetry: Telemetry
  /** Brings the view up to date, consistently. */
  readonly lookAgain: () => Promise<void>
}

interface Entry {
  readonly source: StreamSource
  readonly sync: StreamSync
  /** How often in a row it has failed. */
  failures: number
  /** Not before this time again. */
  waitUntilMs: number
}

const FIRST_WAIT_MS = 1_000
const MAX_WAIT_MS = 10_000

/** Compares the shards of every stream with their leases when it is time. A stream that can't be listed doesn't hold up the others. */
export class StreamSyncs {
  readonly #view: FleetView
  readonly #options: StreamSyncsOptions
  readonly #entries = new Map<StreamSource, Entry>()

  constructor(view: FleetView, options: StreamSyncsOptions) {
    this.#view = view
    this.#options = options
  }

  /** Whether there are streams and the last try failed for all of them. */
  get areFailing(): boolean {
    return this.#entries.size > 0 && [...this.#entries.values()].every(({ failures }) => failures > 0)
  }

  /** Resolves to whether leases have changed; rejects if the last try failed for every stream, and for one just now. */
  async run(signal: AbortSignal): Promise<boolean> {
    this.#followStreams()
    const nowMs = this.#options.clock.monotonicMs()
    const due = [...this.#entries.values()].filter(
      ({ source, sync, waitUntilMs }) => sync.isDue(this.#view.leasesOf(source.identifier)) && nowMs >= waitUntilMs,
    )
    if (due.length === 0) return false
    const { clock, telemetry } = this.#options
    await this.#options.lookAgain()
    let changed = false
    let failed: { readonly error: unknown } | undefined
    await inParallel(due, async (entry) => {
      try {
        const leases = this.#view.leasesOf(entry.source.identifier)
        const sync = timed(
          clock,
          signal,
          () => entry.sync.sync(leases, signal),
          (durationMs, failure) => telemetry.of(entry.source.stream).measures?.shardsSynced(durationMs, failure),
        )
        changed = (await sync) || changed
        entry.failures = 0
      } catch (error) {
        signal.throwIfAborted()
        failed = { error }
        this.#fail(entry, error)
      }
    })
    if (failed !== undefined && this.areFailing) throw failed.error
    if (changed) await this.#options.lookAgain()
    return changed
  }

  /** Another worker leads. */
  rest(): void {
    for (const { sync } of this.#entries.values()) sync.rest()
  }

  #fail(entry: Entry, error: unknown): void {
    const { clock, telemetry, streams } = this.#options
    entry.waitUntilMs = clock.monotonicMs() + Math.min(MAX_WAIT_MS, FIRST_WAIT_MS * 2 ** entry.failures)
    entry.failures++
    // Of one stream it is told by whoever has asked for the round.
    if (!streams.areSeveral) return
    telemetry.emit({ type: 'callFailed', doing: `comparing the shards and leases of ${entry.source.stream}`, error })
  }

  #followStreams(): void {
    const { streams, telemetry } = this.#options
    const sources = new Set(streams.sources)
    for (const source of this.#entries.keys()) if (!sources.has(source)) this.#entries.delete(source)
    for (const source of sources) {
      if (this.#entries.has(source)) continue
      const sync = new StreamSync({
        ...this.#options,
        source,
        telemetry: telemetry.of(source.stream),
        deleting: new Chore(`deleting leases of ${source.stream} that are done with`, this.#options),
      })
      this.#entries.set(source, { source, sync, failures: 0, waitUntilMs: Number.NEGATIVE_INFINITY })
    }
  }
}
