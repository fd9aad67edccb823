import type { Content } from './stored-stream.ts'

/** Looks at what a producer's client sends. */
export interface RequestWatch {
  /** It learns that it may not make a call. */
  denied(): void
  /** A PutRecords; the returned function is told what came of it, as its sender sees it. */
  sent(request: SentRequest): (answer: readonly EntryAnswer[] | Error) => void
  /** A request's bytes have been changed before it was carried out. */
  changed(): void
}

export interface SentRequest {
  readonly stream: string
  readonly contents: readonly Content[]
  /** As the service counts them. */
  readonly bytes: number
}

export interface EntryAnswer {
  readonly ErrorCode?: string
}

/** One record of a PutRecords. */
export interface Entry {
  readonly PartitionKey?: string
  readonly ExplicitHashKey?: string
  readonly Data: Uint8Array
}

/** Tells the watch of a PutRecords and of what its sender sees of it. */
export async function watched(
  watch: RequestWatch,
  input: object,
  contents: readonly Content[],
  answered: Promise<object>,
): Promise<object> {
  const { Records: entries } = input as { Records: readonly Entry[] }
  const bytes = entries.reduce(
    (sum, { Data, PartitionKey }) => sum + Data.length + Buffer.byteLength(PartitionKey ?? ''),
    0,
  )
  const came = watch.sent({ stream: streamOf(input), contents, bytes })
  try {
    const answer = await answered
    came((answer as { Records: readonly EntryAnswer[] }).Records)
    return answer
  } catch (error) {
    came(error as Error)
    throw error
  }
}

/** What is sent is what the bytes are now: the producer uses its buffers again. */
export function withOwnBytes(input: object): object {
  const { Records, ...rest } = input as { Records: readonly Entry[] }
  return { ...rest, Records: Records.map((entry) => ({ ...entry, Data: Uint8Array.from(entry.Data) })) }
}

export function streamOf(input: object): string {
  return (input as { StreamName: string }).StreamName
}

/** Whether what was sent is what its sender has in these bytes now. */
export function hasSameBytes(one: object, other: object): boolean {
  const { Records: entries } = one as { Records: readonly Entry[] }
  const { Records: others } = other as { Records: readonly Entry[] }
  return entries.every(({ Data }, index) => Buffer.compare(Data, others[index]!.Data) === 0)
}
