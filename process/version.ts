/** The release of Berth that this program is of: that of package.json. */
export const VERSION = '0.1.0';
