export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

/** The median, with the extremes if there is more than one value. */
export function spread(values: readonly number[], digits: number): string {
  if (values.length === 0) return '–'
  const of = (value: number): string => value.toFixed(digits)
  const [least, greatest] = [of(Math.min(...values)), of(Math.max(...values))]
  return least === greatest ? least : `${of(median(values))} (${least}–${greatest})`
}

export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |\n`
  return line(head) + line(head.map(() => '---')) + rows.map(line).join('')
}
