import { type Clock, errorCode, type Kinesis } from '@shardwise/core'
import type { InitialPosition } from './shard-sync.ts'
import { type ChosenStream, chooseStreams, identify, type StreamSelection } from './stream-finder.ts'
import type { StreamSource } from './stream-source.ts'
import type { Telemetry } from './telemetry.ts'
import { Wakeup } from './waiting.ts'

/** The streams that the application reads now. */
export interface Streams {
  /** Whether lease keys name their stream. */
  readonly areSeveral: boolean
  readonly sources: readonly StreamSource[]
  /** Undefined for a stream that is none of the application's, or no longer. @param identifier of a lease */
  find(identifier: string | undefined): StreamSource | undefined
  /** A lease is of a stream that isn't known here: it may have been added since the last look. */
  lookSoon(): void
  /** A stream doesn't exist any more. Returns whether the application goes on without it. */
  lose(source: StreamSource, error: unknown): boolean
}

/** An application that reads one stream. */
export function oneStream(stream: string, initialPosition: InitialPosition): Streams {
  const source = { stream, identifier: undefined, initialPosition }
  return {
    areSeveral: false,
    sources: [source],
    find: (identifier) => (identifier === undefined ? source : undefined),
    lookSoon: () => {},
    lose: () => false,
  }
}

export interface SeveralStreamsOptions {
  readonly selection: StreamSelection
  readonly initialPosition: InitialPosition
  readonly kinesis: Kinesis
  readonly clock: Clock
  readonly telemetry: Telemetry
  /** Streams have come or gone. */
  readonly onChange: () => void
}

const LOOK_INTERVAL_MS = 60_000
/** Leases of unknown streams come up at every look at the table. */
const MIN_LOOK_INTERVAL_MS = 5_000
/** A stream that is deleted and made anew is another one; that is looked for rarely, since every worker asks for every stream. */
const IDENTIFY_AGAIN_MS = 10 * 60_000

/** An application that reads several streams, which may come and go. */
export class SeveralStreams implements Streams {
  readonly areSeveral: boolean = true
  readonly #options: SeveralStreamsOptions
  readonly #wakeup = new Wakeup()
  #sources = new Map<string, StreamSource>()
  /** By the stream's name or ARN. */
  readonly #identified = new Map<string, { readonly identifier: string; readonly atMs: number }>()
  #isAsked = false

  constructor(options: SeveralStreamsOptions) {
    this.#options = options
  }

  get sources(): readonly StreamSource[] {
    return [...this.#sources.values()]
  }

  find(identifier: string | undefined): StreamSource | undefined {
    return identifier === undefined ? undefined : this.#sources.get(identifier)
  }

  lookSoon(): void {
    this.#isAsked = true
    this.#wakeup.wake()
  }

  lose({ stream, identifier }: StreamSource, error: unknown): boolean {
    const { telemetry, onChange } = this.#options
    this.#identified.delete(stream)
    if (identifier !== undefined && this.#sources.delete(identifier)) {
      telemetry.of(stream).emit({ type: 'streamRemoved', identifier, reason: String(Object(error).message) })
      onChange()
    }
    this.lookSoon()
    return true
  }

  /** Looks again and again, until the signal is aborted. The first look was {@link look}. */
  async watch(signal: AbortSignal): Promise<void> {
    const { clock, telemetry } = this.#options
    while (!signal.aborted) {
      this.#isAsked = false
      await this.#wakeup.until(() => false, signal, clock, MIN_LOOK_INTERVAL_MS)
      await this.#wakeup.until(() => this.#isAsked, signal, clock, LOOK_INTERVAL_MS - MIN_LOOK_INTERVAL_MS)
      if (signal.aborted) return
      try {
        await this.look(signal)
      } catch (error) {
        if (signal.aborted) return
        telemetry.emit({ type: 'callFailed', doing: 'looking for the streams of the application', error })
      }
    }
  }

  /** Finds out which streams there are. On an error all stays as it was. */
  async look(signal: AbortSignal): Promise<void> {
    const { selection, kinesis, initialPosition } = this.#options
    const chosen = await chooseStreams(selection, kinesis, signal)
    const next = new Map<string, StreamSource>()
    for (const each of chosen) {
      const identifier = await this.#identify(each, signal)
      if (identifier === undefined) continue
      // Kept as it is, so that nobody takes it for another.
      const source = this.#sources.get(identifier) ?? {
        stream: each.stream,
        identifier,
        initialPosition: each.initialPosition ?? initialPosition,
      }
      next.set(identifier, source)
    }
    const before = this.#sources
    this.#sources = next
    this.#tell(before)
  }

  /** Undefined if there is no such stream. */
  async #identify({ stream, identifier }: ChosenStream, signal: AbortSignal): Promise<string | undefined> {
    if (identifier !== undefined) return identifier
    const { clock, kinesis, telemetry } = this.#options
    const known = this.#identified.get(stream)
    if (known !== undefined && clock.monotonicMs() - known.atMs < IDENTIFY_AGAIN_MS) return known.identifier
    try {
      const found = await identify(stream, kinesis, signal)
      this.#identified.set(stream, { identifier: found, atMs: clock.monotonicMs() })
      return found
    } catch (error) {
      if (errorCode(error) === 'ResourceNotFoundException') {
        this.#identified.delete(stream)
        telemetry.of(stream).emit({ type: 'streamMissing', error })
        return undefined
      }
      // It goes on as the one that it was.
      if (known !== undefined && !signal.aborted) return known.identifier
      throw error
    }
  }

  #tell(before: ReadonlyMap<string, StreamSource>): void {
    const { telemetry, onChange } = this.#options
    const added = this.sources.filter(({ identifier }) => !before.has(identifier!))
    const removed = [...before.values()].filter(({ identifier }) => !this.#sources.has(identifier!))
    for (const { stream, identifier } of added) {
      telemetry.of(stream).emit({ type: 'streamAdded', identifier: identifier! })
    }
    for (const { stream, identifier } of removed) {
      telemetry.of(stream).emit({
        type: 'streamRemoved',
        identifier: identifier!,
        reason: 'it is not among the streams of the application any more, or was deleted',
      })
    }
    if (added.length + removed.length > 0) onChange()
  }
}
