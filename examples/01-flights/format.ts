/** 1234567 → 1,234,567 */
export function count(value: number): string {
  return Math.round(value).toLocaleString('en-US')
}

export function decimals(value: number, places: number): string {
  return value.toLocaleString('en-US', { minimumFractionDigits: places, maximumFractionDigits: places })
}

/** 1234567 → 1.2 MB; decimal units, as network rates are given. */
export function bytes(value: number): string {
  if (value < 1e6) return `${decimals(value / 1e3, 0)} kB`
  return `${decimals(value / 1e6, value < 10e6 ? 1 : 0)} MB`
}

export function percent(part: number, whole: number): string {
  // Rounded down, so that 100 % means all.
  return `${whole === 0 ? 100 : Math.floor((100 * part) / whole)} %`
}

export function seconds(ms: number): string {
  return `${decimals(ms / 1_000, 1)} s`
}

/** Lines with their columns aligned: text to the left, what `right` names to the right. */
export function table(rows: readonly (readonly string[])[], right: readonly number[]): string[] {
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => [...(row[column] ?? '')].length))) ?? []
  return rows.map((row) =>
    row
      .map((cell, column) => {
        const space = ' '.repeat(widths[column]! - [...cell].length)
        return right.includes(column) ? space + cell : cell + space
      })
      .join('  ')
      .trimEnd(),
  )
}
