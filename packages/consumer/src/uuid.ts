import type { Random } from '@shardwise/core'

/** A version 4 UUID (RFC 9562) from the given source, so that a run can be replayed. */
export function uuid(random: Random): string {
  const hex = Array.from({ length: 32 }, (_, index) => {
    const digit = Math.floor(random() * 16)
    return (index === 12 ? 4 : index === 16 ? (digit % 4) + 8 : digit).toString(16)
  }).join('')
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`
}
